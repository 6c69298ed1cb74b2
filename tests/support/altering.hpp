// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/threads.hpp>

#include <optional>
#include <stdexcept>
#include <vector>

/// Wraps threads. One rank receives one message with one bit flipped, or its wait fails.
class altering {
 public:
  static constexpr std::string_view name = "altering";
  static constexpr bool receives_in_place = true;
  static constexpr diloco::transport_traits traits{};

  /// Flips bit `bit` of what rank `from` sent, in exchanges of this phase.
  struct flip {
    int from = 0;
    std::uint32_t phase = 0;
    std::size_t bit = 0;
  };
  std::optional<flip> next;  // at this rank, until it is reset
  struct failure {
    std::uint32_t phase = 0;
    diloco::cause what = diloco::cause::transport;
    bool throws = false;
  };
  std::optional<failure> fails;   // at this rank, the wait for an exchange of that phase fails
  std::size_t message_bytes = 0;  // of the last message that arrived in the phase of `next`, or in any phase

  explicit altering(diloco::threads inner) : inner_(std::move(inner)) {}
  [[nodiscard]] int rank() const { return inner_.rank(); }
  [[nodiscard]] int size() const { return inner_.size(); }

  class arrival {
   public:
    arrival(diloco::threads::arrival inner, std::optional<flip> const& f) : inner_(std::move(inner)) {
      if (!f) return;
      for (std::size_t k = 0; k < inner_.roster().size(); ++k) {
        if (inner_.roster()[k] == f->from) at_ = static_cast<int>(k);
      }
      if (at_ < 0) return;
      auto const message = inner_.message(at_);
      copy_.assign(message.begin(), message.end());
      copy_[f->bit / 8 % copy_.size()] ^= static_cast<std::byte>(1u << f->bit % 8);
    }
    [[nodiscard]] std::span<int const> roster() const { return inner_.roster(); }
    [[nodiscard]] std::span<std::byte const> message(int k) const {
      return k == at_ ? std::span<std::byte const>(copy_) : inner_.message(k);
    }
    void done() { inner_.done(); }
    diloco::result<diloco::wires> reclaim(diloco::deadline d) && { return std::move(inner_).reclaim(d); }

   private:
    diloco::threads::arrival inner_;
    int at_ = -1;
    std::vector<std::byte> copy_;
  };
  class pending {
   public:
    pending(diloco::threads::pending inner, std::optional<flip> f, std::optional<failure> fails)
        : inner_(std::move(inner)), flip_(f), fails_(fails) {}
    diloco::result<arrival> wait(diloco::deadline d) {
      if (fails_ && fails_->throws) throw std::runtime_error("the cable was cut");
      if (fails_) return diloco::error{fails_->what, 0, 0, "diloco: the cable was cut"};
      auto here = inner_.wait(d);
      if (!here) return std::move(here).error();
      return arrival(std::move(*here), flip_);
    }

   private:
    diloco::threads::pending inner_;
    std::optional<flip> flip_;
    std::optional<failure> fails_;
  };
  [[nodiscard]] pending all_gather(diloco::wires w, diloco::exchange_tag tag) {
    auto const f = of(tag, w.send.size());
    return {inner_.all_gather(std::move(w), tag), f, failing(tag)};
  }
  [[nodiscard]] pending all_to_all(diloco::wires w, diloco::exchange_tag tag) {
    auto const f = of(tag, w.send.size() / static_cast<std::size_t>(size()));
    return {inner_.all_to_all(std::move(w), tag), f, failing(tag)};
  }
  [[nodiscard]] pending all_gather(diloco::wires w, diloco::rank_group g, diloco::exchange_tag tag) {
    auto const f = of(tag, w.send.size());
    return {inner_.all_gather(std::move(w), g, tag), f, failing(tag)};
  }
  [[nodiscard]] pending all_to_all(diloco::wires w, diloco::rank_group g, diloco::exchange_tag tag) {
    auto const f = of(tag, w.send.size() / static_cast<std::size_t>(g.count));
    return {inner_.all_to_all(std::move(w), g, tag), f, failing(tag)};
  }
  [[nodiscard]] pending exchange(diloco::wires w, int partner, diloco::exchange_tag tag) {
    auto const f = of(tag, w.send.size());
    return {inner_.exchange(std::move(w), partner, tag), f, failing(tag)};
  }

 private:
  [[nodiscard]] std::optional<failure> failing(diloco::exchange_tag tag) const {
    return fails && fails->phase == tag.phase ? fails : std::nullopt;
  }
  [[nodiscard]] std::optional<flip> of(diloco::exchange_tag tag, std::size_t bytes) {
    bool const mine = next && next->phase == tag.phase;
    if (!next || mine) message_bytes = bytes;
    return mine ? next : std::nullopt;
  }
  diloco::threads inner_;
};

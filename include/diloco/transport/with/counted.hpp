// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/transport.hpp>

#include <atomic>
#include <memory>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Any transport, with its traffic counted where it is sent: bytes to other ranks, by the pattern of each
/// exchange. All `counts()` handles share the counts, even those taken before the transport moved into a
/// recipe. An exchange that the transport refuses by an exception is not counted.
/// With groups of `group` ranks, bytes to ranks of other groups are also counted apart.
template <transport T>
class counted {
 public:
  struct traffic {
    std::atomic<std::uint64_t> sent_bytes{0}, operations{0}, between_groups{0};
  };

  static constexpr std::string_view name = T::name;
  static constexpr bool receives_in_place = T::receives_in_place;
  static constexpr transport_traits traits = T::traits;

  explicit counted(T inner, int group = 0) : inner_(std::move(inner)), group_(group) {}
  [[nodiscard]] int rank() const { return inner_.rank(); }
  [[nodiscard]] int size() const { return inner_.size(); }
  [[nodiscard]] std::shared_ptr<traffic const> counts() const { return traffic_; }
  [[nodiscard]] std::uint64_t sent_bytes() const { return traffic_->sent_bytes; }
  [[nodiscard]] std::uint64_t operations() const { return traffic_->operations; }

  template <class E>
  void after(E const& executor) requires(T::traits.follows_executor) {
    inner_.after(executor);
  }
  [[nodiscard]] auto all_gather(wires w, exchange_tag tag) {
    std::size_t const slot = w.send.size();
    auto started = inner_.all_gather(std::move(w), tag);
    count(everybody(), slot);
    return started;
  }
  [[nodiscard]] auto all_to_all(wires w, exchange_tag tag) {
    std::size_t const slot = w.send.size() / static_cast<std::size_t>(size());
    auto started = inner_.all_to_all(std::move(w), tag);
    count(everybody(), slot);
    return started;
  }
  [[nodiscard]] auto all_gather(wires w, rank_group g, exchange_tag tag) requires grouping_transport<T> {
    std::size_t const slot = w.send.size();
    auto started = inner_.all_gather(std::move(w), g, tag);
    count(g, slot);
    return started;
  }
  [[nodiscard]] auto all_to_all(wires w, rank_group g, exchange_tag tag) requires grouping_transport<T> {
    std::size_t const slot = w.send.size() / static_cast<std::size_t>(g.count);
    auto started = inner_.all_to_all(std::move(w), g, tag);
    count(g, slot);
    return started;
  }
  [[nodiscard]] auto exchange(wires w, int partner, exchange_tag tag) requires pairing_transport<T> {
    std::size_t const slot = w.send.size();
    auto started = inner_.exchange(std::move(w), partner, tag);
    count({partner, 1, 1}, slot);
    return started;
  }

 private:
  [[nodiscard]] rank_group everybody() const { return {0, size(), 1}; }
  void count(rank_group peers, std::size_t slot) {
    std::uint64_t sent = 0, outside = 0;
    for (int i = 0; i < peers.count; ++i) {
      int const peer = peers.rank(i);
      if (peer == rank()) continue;
      sent += slot;
      if (group_ != 0 && peer / group_ != rank() / group_) outside += slot;
    }
    traffic_->sent_bytes += sent;
    traffic_->between_groups += outside;
    traffic_->operations += 1;
  }
  T inner_;
  int group_;
  std::shared_ptr<traffic> traffic_ = std::make_shared<traffic>();
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

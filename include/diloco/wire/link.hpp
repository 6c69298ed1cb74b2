// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/exchange.hpp>
#include <diloco/concepts/executor.hpp>
#include <diloco/state/memory_source.hpp>

#include <memory>
#include <optional>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// With whom a leg exchanges: the partner of a pair, or a group of ranks. `count` 0: with all ranks.
struct leg_peers {
  int partner = 0;
  rank_group group;
};

/// Buffers and state of one exchange. Reusable after take_back. May outlive its transport, but must not
/// start again.
class exchange_slot {
 public:
  virtual ~exchange_slot() = default;
  /// Send buffer; null from start() until take_back().
  [[nodiscard]] std::byte* to_send() const { return memory_.send.data(); }
  [[nodiscard]] std::size_t bytes() const { return memory_.send.size() + memory_.receive.size(); }

  /// Starts the exchange after all work that was enqueued before. If the transport follows the executor,
  /// the host does not wait; otherwise it waits for the executor. May throw what the transport throws.
  virtual void start(operation how, leg_peers with, exchange_tag tag) = 0;
  /// Moves messages, if the transport does not by itself. Never waits.
  virtual void progress() = 0;
  /// Waits for the messages. After an error the exchange stays open until `finish`, so that peers can still
  /// read this rank's message.
  [[nodiscard]] virtual result<> receive(deadline limit) = 0;
  /// Senders in ascending rank order; valid after receive(). message(k) came from rank roster()[k].
  [[nodiscard]] virtual std::span<int const> roster() const = 0;
  [[nodiscard]] virtual std::span<std::byte const> message(int k) const = 0;
  /// Tells peers that this rank has read the messages. Never waits.
  virtual void done() = 0;
  /// Waits until all peers have read this rank's message, then gets the buffers back. Does nothing if nothing
  /// arrived.
  [[nodiscard]] virtual result<> take_back(deadline limit) = 0;
  /// Closes an open exchange; with a limit, first waits for it.
  virtual void finish(std::optional<deadline> limit) = 0;

 protected:
  wires memory_;
};

/// Type-erased transport and executor of one trainer, like exchange_slot. Cost: a few virtual calls per
/// exchange.
class transport_link {
 public:
  virtual ~transport_link() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Whether messages are in device memory, which the host cannot read.
  [[nodiscard]] virtual bool messages_on_device() const = 0;
  [[nodiscard]] virtual memory_source const& memory() const = 0;
  /// Allocates `sent` and `received` bytes; `received` is ignored if the transport reads in place.
  [[nodiscard]] virtual std::unique_ptr<exchange_slot> slot(std::size_t sent, std::size_t received) const = 0;
};

template <transport T, executor E>
class exchange_over final : public exchange_slot {
 public:
  exchange_over(T& over, E const& where, std::size_t sent, std::size_t received)
      : transport_(&over), where_(&where) {
    memory_ = {allocate(sent), allocate(T::receives_in_place ? 0 : received)};
  }

  void start(operation how, leg_peers with, exchange_tag tag) override {
    static_assert(
        T::traits.follows_executor || !requires { transport_->after(*where_); },
        "diloco: transport: has after(executor), and its traits do not say .follows_executor");
    if constexpr (T::traits.follows_executor)
      transport_->after(*where_);
    else
      where_->wait();
    if (how == operation::pair) {
      if constexpr (pairing_transport<T>)
        pending_.emplace(transport_->exchange(std::move(memory_), with.partner, tag));
    } else if (with.group.count != 0) {
      if constexpr (grouping_transport<T>)
        pending_.emplace(how == operation::all_gather
                             ? transport_->all_gather(std::move(memory_), with.group, tag)
                             : transport_->all_to_all(std::move(memory_), with.group, tag));
    } else if (how == operation::all_gather) {
      pending_.emplace(transport_->all_gather(std::move(memory_), tag));
    } else {
      pending_.emplace(transport_->all_to_all(std::move(memory_), tag));
    }
  }
  void progress() override {
    if constexpr (T::traits.needs_progress) {
      if (pending_) pending_->progress();
    }
  }
  result<> receive(deadline limit) override {
    auto arrived = pending_->wait(limit);
    if (!arrived) return std::move(arrived).error();
    arrival_.emplace(std::move(*arrived));
    pending_.reset();
    return {};
  }
  std::span<int const> roster() const override { return arrival_->roster(); }
  std::span<std::byte const> message(int k) const override { return arrival_->message(k); }
  void done() override { arrival_->done(); }
  result<> take_back(deadline limit) override {
    if (!arrival_) return {};
    auto back = std::move(*arrival_).reclaim(limit);
    arrival_.reset();
    if (!back) return std::move(back).error();
    memory_ = std::move(*back);
    return {};
  }
  void finish(std::optional<deadline> limit) override {
    if (pending_ && limit) static_cast<void>(pending_->wait(*limit));
    pending_.reset();
  }

 private:
  [[nodiscard]] buffer allocate(std::size_t bytes) const {
    if (bytes == 0) return {};
    return wires_lie_with_columns<T> && !E::columns_on_host ? where_->allocate(bytes)
                                                            : where_->allocate_wire(bytes);
  }
  T* transport_;
  E const* where_;
  std::optional<pending_of<T>> pending_;
  std::optional<arrival_of<T>> arrival_;
};

/// Transport and executor must outlive it.
template <transport T, executor E>
class transport_link_over final : public transport_link {
 public:
  transport_link_over(T& over, E const& where, memory_source const& memory)
      : transport_(over), where_(where), memory_(memory) {}
  int rank() const override { return transport_.rank(); }
  int size() const override { return transport_.size(); }
  std::string_view name() const override { return T::name; }
  bool messages_on_device() const override { return wires_lie_with_columns<T> && !E::columns_on_host; }
  memory_source const& memory() const override { return memory_; }
  std::unique_ptr<exchange_slot> slot(std::size_t sent, std::size_t received) const override {
    return std::make_unique<exchange_over<T, E>>(transport_, where_, sent, received);
  }

 private:
  T& transport_;
  E const& where_;
  memory_source const& memory_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

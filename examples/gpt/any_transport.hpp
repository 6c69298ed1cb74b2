// SPDX-License-Identifier: Apache-2.0
// A transport chosen at run time. So the slow nvcc compiles each recipe once, instead of once per transport.
// Your own transport works as well as the library's.
#pragma once

#include <diloco/concepts/transport.hpp>

#include <memory>

namespace gpt {

class any_transport {
  struct arrived {
    virtual ~arrived() = default;
    virtual std::span<int const> roster() const = 0;
    virtual std::span<std::byte const> message(int k) const = 0;
    virtual void done() = 0;
    virtual diloco::result<diloco::wires> reclaim(diloco::deadline d) = 0;
  };
  struct awaited {
    virtual ~awaited() = default;
    virtual diloco::result<std::unique_ptr<arrived>> wait(diloco::deadline d) = 0;
  };

 public:
  static constexpr std::string_view name = "any_transport";
  static constexpr bool receives_in_place = false;  // an in-place transport leaves the receive buffers unused
  static constexpr diloco::transport_traits traits{};

  class arrival {
   public:
    explicit arrival(std::unique_ptr<arrived> held) : held_(std::move(held)) {}
    std::span<int const> roster() const { return held_->roster(); }
    std::span<std::byte const> message(int k) const { return held_->message(k); }
    void done() { held_->done(); }
    diloco::result<diloco::wires> reclaim(diloco::deadline d) && { return held_->reclaim(d); }

   private:
    std::unique_ptr<arrived> held_;
  };
  class pending {
   public:
    explicit pending(std::unique_ptr<awaited> held) : held_(std::move(held)) {}
    diloco::result<arrival> wait(diloco::deadline d) {
      auto here = held_->wait(d);
      if (!here) return std::move(here).error();
      return arrival(std::move(*here));
    }

   private:
    std::unique_ptr<awaited> held_;
  };

  template <class T>
  requires(!std::same_as<T, any_transport> && diloco::transport<T>) explicit any_transport(T inner)
      : held_(std::make_unique<transport_of<T>>(std::move(inner))) {}
  int rank() const { return held_->rank(); }
  int size() const { return held_->size(); }
  pending all_gather(diloco::wires w, diloco::exchange_tag tag) {
    return held_->post(std::move(w), tag, false);
  }
  pending all_to_all(diloco::wires w, diloco::exchange_tag tag) {
    return held_->post(std::move(w), tag, true);
  }

 private:
  struct concrete {
    virtual ~concrete() = default;
    virtual int rank() const = 0;
    virtual int size() const = 0;
    virtual pending post(diloco::wires w, diloco::exchange_tag tag, bool cut) = 0;
  };
  template <class T>
  struct arrived_of final : arrived {
    explicit arrived_of(diloco::arrival_of<T> a) : inner(std::move(a)) {}
    std::span<int const> roster() const override { return inner.roster(); }
    std::span<std::byte const> message(int k) const override { return inner.message(k); }
    void done() override { inner.done(); }
    diloco::result<diloco::wires> reclaim(diloco::deadline d) override { return std::move(inner).reclaim(d); }
    diloco::arrival_of<T> inner;
  };
  template <class T>
  struct awaited_of final : awaited {
    explicit awaited_of(diloco::pending_of<T> p) : inner(std::move(p)) {}
    diloco::result<std::unique_ptr<arrived>> wait(diloco::deadline d) override {
      auto here = inner.wait(d);
      if (!here) return std::move(here).error();
      return std::unique_ptr<arrived>(std::make_unique<arrived_of<T>>(std::move(*here)));
    }
    diloco::pending_of<T> inner;
  };
  template <class T>
  struct transport_of final : concrete {
    explicit transport_of(T t) : inner(std::move(t)) {}
    int rank() const override { return inner.rank(); }
    int size() const override { return inner.size(); }
    pending post(diloco::wires w, diloco::exchange_tag tag, bool cut) override {
      return pending(std::make_unique<awaited_of<T>>(cut ? inner.all_to_all(std::move(w), tag)
                                                         : inner.all_gather(std::move(w), tag)));
    }
    T inner;
  };

  std::unique_ptr<concrete> held_;
};
static_assert(diloco::transport<any_transport>);

}  // namespace gpt

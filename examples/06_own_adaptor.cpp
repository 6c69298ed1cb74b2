// SPDX-License-Identifier: Apache-2.0
// A transport of your own that wraps another. `distant` delivers every message `seconds` after it was sent,
// as if the peers were far away.
// The same rounds run over it twice: landed at once, and with steps in between. The `counters` probe reports
// how long the workers waited.
#include <diloco/diloco.hpp>

#include <algorithm>
#include <cstdio>
#include <thread>

// [adaptor]
template <diloco::transport T>
class distant {
 public:
  static constexpr std::string_view name = T::name;
  static constexpr bool receives_in_place = T::receives_in_place;
  static constexpr diloco::transport_traits traits{};  // messages of the host; no after(executor)

  distant(T inner, double seconds) : inner_(std::move(inner)), seconds_(seconds) {}
  [[nodiscard]] int rank() const { return inner_.rank(); }
  [[nodiscard]] int size() const { return inner_.size(); }

  [[nodiscard]] auto all_gather(diloco::wires w, diloco::exchange_tag tag) {
    return pending{inner_.all_gather(std::move(w), tag), diloco::deadline_after(seconds_), rank()};
  }
  [[nodiscard]] auto all_to_all(diloco::wires w, diloco::exchange_tag tag) {
    return pending{inner_.all_to_all(std::move(w), tag), diloco::deadline_after(seconds_), rank()};
  }

 private:
  struct pending {  // owns the buffers, through the exchange that it wraps
    diloco::pending_of<T> inner;
    diloco::deadline arrival;
    int rank;
    diloco::result<diloco::arrival_of<T>> wait(diloco::deadline limit) {
      std::this_thread::sleep_until(std::min(arrival, limit));
      if (limit < arrival)
        return diloco::error{diloco::cause::timeout, rank, 0, "distant: the deadline passed"};
      return inner.wait(limit);
    }
  };
  T inner_;
  double seconds_;
};
// [/adaptor]

/// Seconds that worker 0 waits in ten rounds over a link of 10 ms. A step takes 5 ms.
double waited(bool overlap) {
  double seconds = 0;
  diloco::run_threads(2, [&](diloco::threads transport) {
    std::vector<float> x(1000), gradient(1000, 0.1f);
    // [use]
    diloco::DiLoCo trainer(diloco::recipe<>{}
                               .with_transport(distant(std::move(transport), 0.010))
                               .with_schedule(diloco::manual{})
                               .with_probe(diloco::counters{}),
                           std::vector<diloco::tensor>{{"x", {1000}, x.data()}});
    // [/use]
    auto const steps = [&](int count) {
      for (int step = 0; step < count; ++step) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));  // a backward pass
        trainer.step(std::vector<std::span<float const>>{gradient});
      }
    };
    for (int round = 0; round < 10; ++round) {
      steps(overlap ? 1 : 5);
      auto flight = trainer.launch();
      steps(overlap ? 4 : 0);
      trainer.land(std::move(flight), {.mix = 0.5f});
    }
    if (trainer.transport().rank() == 0) seconds = trainer.probe().wait_seconds;
  });
  return seconds;
}

int main() {
  double const at_once = waited(false), overlapped = waited(true);
  std::printf(
      "ten rounds over a link of 10 ms: %.3f s of waiting when landed at once, %.3f s with steps in "
      "between\n",
      at_once, overlapped);
  return at_once >= 0.1 && overlapped < at_once ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
// One policy of your own for each role that has no page under docs/how-to. The pages of docs/reference show
// them. `main` runs all of them in four runs of four workers.
#include <diloco/diloco.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

// [signal]
/// Says the sign of the gradient: −1, 0 or 1 (signSGD, Bernstein et al. 2018).
struct gradient_sign {
  static constexpr std::string_view name = "gradient_sign";
  static constexpr diloco::signal_traits traits{.of_gradient = true};
  static constexpr std::array<std::string_view, 0> slots{};
  struct step {
    DILOCO_HD float operator()(float g) const { return diloco::sign_of(g); }
  };
  [[nodiscard]] constexpr step at() const { return {}; }
};
// [/signal]
static_assert(diloco::gradient_signal<gradient_sign>);

// [feedback]
/// Error feedback in the first `rounds` rounds. Later rounds send nothing of what was lost before.
struct early_feedback {
  std::uint32_t rounds = 100;
  static constexpr std::string_view name = "early_feedback";
  static constexpr diloco::feedback_traits traits{};
  struct step {
    float share;  // of the residual that is sent
    [[nodiscard]] DILOCO_HD float want(float delta, float e) const { return diloco::fma(share, e, delta); }
    [[nodiscard]] DILOCO_HD float keep(float wanted, float sent, float) const {
      return diloco::product(share, wanted - sent);
    }
  };
  [[nodiscard]] constexpr step at(std::uint64_t round) const { return {round < rounds ? 1.0f : 0.0f}; }
  [[nodiscard]] constexpr early_feedback owner() const { return *this; }
};
// [/feedback]
static_assert(diloco::feedback<early_feedback>);

// [combine]
/// The mean of all workers that took a step, whatever the number of their tokens.
struct equal_mean {
  static constexpr std::string_view name = "equal_mean";
  static constexpr diloco::combine_traits traits{};
  bool coefficients(std::span<double const> weights, std::span<float> out) const {
    int n = 0;
    for (double w : weights) n += w > 0 ? 1 : 0;
    for (std::size_t k = 0; k < weights.size(); ++k)
      out[k] = weights[k] > 0 ? 1.0f / static_cast<float>(n) : 0.0f;
    return n != 0;
  }
};
// [/combine]
static_assert(diloco::linear_combine<equal_mean>);

// [exchange]
/// Ranks stand in a line. Each meets its right and its left neighbour in turn.
struct line {
  static constexpr std::string_view name = "line";
  static constexpr diloco::same_compressor second{};
  [[nodiscard]] constexpr diloco::leg_list legs(int) const {
    return {name, 1, {diloco::leg{diloco::operation::pair}}};
  }
  [[nodiscard]] constexpr int partner(std::uint64_t round, int rank, int ranks) const {
    int const other = round % 2 == 0 ? rank ^ 1 : ((rank + 1) ^ 1) - 1;
    return other < 0 || other >= ranks ? rank : other;  // at an end: its own partner
  }
};
// [/exchange]
static_assert(diloco::exchange_policy<line> && diloco::pairing_exchange<line>);

// [schedule]
/// A round after each of the first `first` steps, and then after every `inner_steps` steps (post-local SGD,
/// Lin et al. 2018, arXiv 1808.07217).
struct post_local {
  long first = 100, inner_steps = 16;
  static constexpr std::string_view name = "post_local";
  static constexpr diloco::schedule_traits traits{};
  static constexpr diloco::fragment_cut cut{};
  [[nodiscard]] static constexpr int fragments() { return 1; }
  [[nodiscard]] constexpr double rounds_per_step() const { return 1.0 / static_cast<double>(inner_steps); }
  [[nodiscard]] constexpr diloco::action_list after(std::uint64_t steps) const {
    if (steps > static_cast<std::uint64_t>(first) && steps % static_cast<std::uint64_t>(inner_steps) != 0)
      return {};
    return {{diloco::action::launch, 0}, {diloco::action::land, 0}};
  }
  [[nodiscard]] std::string describe() const { return "post-local, every " + std::to_string(inner_steps); }
  template <class F>
  constexpr void fields(F&& f) const {
    f("first", first, diloco::non_negative);
    f("inner_steps", inner_steps, diloco::range{1, diloco::unbounded});
  }
};
// [/schedule]
static_assert(diloco::schedule<post_local>);

// [rate]
/// From 1 down to 0 at step `total`, in a straight line.
struct linear_decay {
  std::uint64_t total = 1000;
  static constexpr std::string_view name = "linear_decay";
  static constexpr diloco::rate_traits traits{.replicated = true};
  [[nodiscard]] float factor(std::uint64_t step) const {
    if (step >= total) return 0.0f;
    return static_cast<float>(static_cast<double>(total - step) / static_cast<double>(total));
  }
  template <class F>
  constexpr void fields(F&& f) const {
    f("total", total, diloco::range{1, 9007199254740992.0});
  }
};
// [/rate]
static_assert(diloco::learning_rate<linear_decay>);

// [executor]
/// The caller's thread, from the last tile to the first. The order of tiles changes no bit.
struct backwards : diloco::cpp {
  static constexpr std::string_view name = "backwards";
  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
    while (n-- != 0) kernel(diloco::solo{}, n);
  }
};
// [/executor]
static_assert(diloco::executor<backwards>);

// [probe]
/// Adds up what rounds brought and cost.
struct ledger {
  double tokens = 0, waited_seconds = 0;
  void operator()(diloco::round_landed const& e) {
    tokens += e.total_weight;
    waited_seconds += e.wait_seconds;
  }
};
// [/probe]
static_assert(diloco::hears<ledger, diloco::round_landed> && !diloco::hears<ledger, diloco::round_aborted>);

// [linear_algebra]
/// Products by plain loops. A tile is one row of C.
struct naive {
  static constexpr std::string_view name = "naive";
  struct kernel {
    diloco::matrix_product m;
    void operator()(diloco::solo, std::size_t i) const {
      for (std::size_t j = 0; j < m.columns; ++j) {
        float sum = 0.0f;
        for (std::size_t k = 0; k < m.depth; ++k)
          sum += m.a.data[m.a.transposed ? k * m.rows + i : i * m.depth + k] *
                 m.b.data[m.b.transposed ? j * m.depth + k : k * m.columns + j];
        float& c = m.c[i * m.columns + j];
        c = m.alpha * sum + (m.beta == 0.0f ? 0.0f : m.beta * c);
      }
    }
  };
  template <class E>
  void multiply(E const& where, diloco::matrix_product const& m) const {
    where.for_each(m.rows, kernel{m});
  }
  template <class E>
  void gram(E const& where, diloco::gram_product const& s) const {
    multiply(where, {s.side, s.side, s.depth, s.a, {s.a.data, !s.a.transposed}, s.c, s.alpha, s.beta});
  }
};
// [/linear_algebra]
static_assert(diloco::linear_algebra<naive>);

namespace {

/// Trains x towards 1 on four workers and returns the largest distance that is left.
template <class Recipe>
float distance(Recipe recipe_of) {
  std::array<float, 4> left{};
  diloco::run_threads(4, [&](diloco::threads transport) {
    int const rank = transport.rank();
    std::vector<float> x(1000, 0.0f), g(1000);
    diloco::DiLoCo trainer(recipe_of().with_transport(std::move(transport)),
                           std::vector<diloco::tensor>{{"x", {40, 25}, x.data()}});
    for (int step = 0; step < 64; ++step) {
      for (std::size_t i = 0; i < g.size(); ++i) g[i] = x[i] - 1.0f;
      trainer.step(std::vector<std::span<float const>>{g});
    }
    for (float v : x)
      left[static_cast<std::size_t>(rank)] = std::max(left[static_cast<std::size_t>(rank)], std::fabs(v - 1));
    if constexpr (requires { trainer.probe().tokens; }) {
      if (rank == 0) std::printf("%s\ntokens %g\n", trainer.describe().c_str(), trainer.probe().tokens);
    }
  });
  return *std::max_element(left.begin(), left.end());
}

}  // namespace

int main() {
  float const by_rounds = distance([] {
    return diloco::recipe<>{}
        .with_inner(diloco::plain_sgd{.lr = 0.1f})
        .with_outer(diloco::plain_sgd{.lr = 1.0f})
        .with_compressor(diloco::absmax<8>{})
        .with_feedback(early_feedback{.rounds = 50})
        .with_combine(equal_mean{})
        .with_schedule(post_local{.first = 8, .inner_steps = 4})
        .with_rate(linear_decay{.total = 100})
        .with_executor(backwards{})
        .with_probe(ledger{});
  });
  float const by_signs = distance([] {
    return diloco::recipe<>{}
        .with_inner(diloco::none{})
        .with_outer(diloco::plain_sgd{.lr = 0.02f})
        .with_signal(gradient_sign{})
        .with_schedule(diloco::every(1));
  });
  float const by_pairs = distance([] {
    return diloco::recipe<>{}
        .with_inner(diloco::plain_sgd{.lr = 0.1f})
        .with_outer(diloco::noloco{})
        .with_exchange(line{})
        .with_schedule(diloco::every(4));
  });
  float const by_muon = distance([] {
    return diloco::recipe<>{}.with_inner(diloco::muon<naive>{.lr = 0.2f}).with_schedule(diloco::every(8));
  });
  std::printf("left: %g by muon, %g by rounds, %g by signs, %g by pairs\n", static_cast<double>(by_muon),
              static_cast<double>(by_rounds), static_cast<double>(by_signs), static_cast<double>(by_pairs));
  return by_muon < 0.9f && by_rounds < 0.1f && by_signs < 0.03f && by_pairs < 0.2f ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
// Runs every law on every element optimizer, in the sweep that runs it. A new optimizer adds one line at the
// end.
// One optimizer with two moments and one without state run on every host executor, and a few through
// trainers. Executors and trainers differ there, not the step.
#include "support.hpp"

#include <algorithm>

namespace {

using namespace diloco;
using laws::numbers;

/// The same update in double, written from the papers' formulas and not from our code.
struct reference {
  static void step(adamw const& o, long t, double& p, double g, double* s) {
    double const b1 = double(o.beta1), b2 = double(o.beta2);
    p *= 1 - double(o.lr) * double(o.weight_decay);
    s[0] = b1 * s[0] + (1 - b1) * g;
    s[1] = b2 * s[1] + (1 - b2) * g * g;
    double const m = s[0] / (1 - std::pow(b1, t)), v = s[1] / (1 - std::pow(b2, t));
    p -= double(o.lr) * m / (std::sqrt(v) + double(o.eps));
  }
  static void step(plain_sgd const& o, long, double& p, double g, double*) {
    p -= double(o.lr) * (g + double(o.weight_decay) * p);
  }
  static void step(sgd const& o, long, double& p, double g, double* s) {
    double const d = g + double(o.weight_decay) * p;
    s[0] = double(o.momentum) * s[0] + d;
    p -= double(o.lr) * (o.nesterov ? d + double(o.momentum) * s[0] : s[0]);
  }
  static void step(nesterov const& o, long, double& p, double g, double* s) {
    s[0] = double(o.momentum) * s[0] + g;
    p -= double(o.lr) * (g + double(o.momentum) * s[0]);
  }
  static void step(lion const& o, long, double& p, double g, double* s) {
    double const u = double(o.beta1) * s[0] + (1 - double(o.beta1)) * g;
    p *= 1 - double(o.lr) * double(o.weight_decay);
    p -= double(o.lr) * (u > 0 ? 1 : u < 0 ? -1 : 0);
    s[0] = double(o.beta2) * s[0] + (1 - double(o.beta2)) * g;
  }
  static void step(adam const& o, long t, double& p, double g, double* s) {
    step(adamw{.lr = o.lr, .beta1 = o.beta1, .beta2 = o.beta2, .eps = o.eps, .weight_decay = 0.0f}, t, p,
         g + double(o.weight_decay) * p, s);
  }
  static int sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
  static void step(sign_sgd const& o, long, double& p, double g, double*) { p -= double(o.lr) * sign(g); }
  static void step(signum const& o, long, double& p, double g, double* s) {
    s[0] = double(o.beta) * s[0] + (1 - double(o.beta)) * g;
    p *= 1 - double(o.lr) * double(o.weight_decay);
    p -= double(o.lr) * sign(s[0]);
  }
  static void step(heavy_ball const& o, long, double& p, double g, double* s) {
    s[0] = double(o.momentum) * s[0] + g;
    p -= double(o.lr) * s[0];
  }
  static void step(lookahead const& o, long, double& p, double g, double*) {
    p = (1 - double(o.alpha)) * p + double(o.alpha) * (p - g);
  }
  static void step(slowmo const& o, long, double& p, double g, double* s) {
    s[0] = double(o.momentum) * s[0] + g / double(o.inner_lr);
    p -= double(o.lr) * double(o.inner_lr) * s[0];
  }
  static void step(bmuf const& o, long, double& p, double g, double* s) {
    double const eta = double(o.momentum), ahead = o.nesterov ? eta : 0;
    double phi = p + ahead * s[0];  // the filtered model, from which this block started
    s[0] = eta * s[0] + double(o.block_lr) * g;
    phi -= s[0];
    p = phi - ahead * s[0];
  }
  static void step(delayed_nesterov const& o, long t, double& p, double g, double* s) {
    double const beta = double(o.momentum), n = o.period, c = double(o.activation);
    s[1] += g;
    if (t % o.period == 0) {
      s[0] = beta * s[0] + s[1] / n;
      p -= double(o.lr) * ((1 - c * n + c) * beta * s[0] + g / n);
      s[1] = 0;
    } else {
      p -= double(o.lr) * (c * beta * s[0] + g / n);
    }
  }
  template <class O>
  static void fedopt(O const& o, double& p, double g, double* s) {
    s[0] = double(o.beta1) * s[0] + (1 - double(o.beta1)) * g;
    p -= double(o.lr) * s[0] / (std::sqrt(s[1]) + double(o.tau));
  }
  static void step(fedadam const& o, long, double& p, double g, double* s) {
    s[1] = double(o.beta2) * s[1] + (1 - double(o.beta2)) * g * g;
    fedopt(o, p, g, s);
  }
  static void step(fedyogi const& o, long, double& p, double g, double* s) {
    s[1] -= (1 - double(o.beta2)) * g * g * sign(s[1] - g * g);
    fedopt(o, p, g, s);
  }
  static void step(fedadagrad const& o, long, double& p, double g, double* s) {
    s[1] += g * g;
    fedopt(o, p, g, s);
  }
  /// The paper's three sequences: the gradient is taken at y, z is the fast sequence, and x is their average.
  static void step(schedule_free_adamw const& o, long t, double& y, double g, double* s) {
    double &z = s[0], &v = s[1], &x = s[2];
    if (t == 1) z = x = y;
    auto const warm = [&](long k) {
      return std::min(1.0, o.warmup == 0 ? 1.0 : double(k) / double(o.warmup));
    };
    auto const weight = [&](long k) {
      return std::pow(k, double(o.r)) * std::pow(warm(k), double(o.weight_power));
    };
    double weights = 0;
    for (long k = 1; k <= t; ++k) weights += weight(k);
    double const b1 = double(o.beta1), b2 = double(o.beta2), c = weight(t) / weights;
    v = b2 * v + (1 - b2) * g * g;
    double const d = g / (std::sqrt(v / (1 - std::pow(b2, t))) + double(o.eps)) + double(o.weight_decay) * y;
    z -= double(o.lr) * warm(t) * d;
    x = (1 - c) * x + c * z;
    y = b1 * x + (1 - b1) * z;
  }
};

/// Settings that exercise every term, and the digest of 20 steps. Every compiler, level and executor must
/// give this digest.
template <class O>
struct sample;
template <>
struct sample<adamw> {
  static constexpr adamw value{
      .lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f};
  static constexpr std::uint64_t digest = 5003664627555881466ull;
};
template <>
struct sample<plain_sgd> {
  static constexpr plain_sgd value{.lr = 0.05f, .weight_decay = 0.01f};
  static constexpr std::uint64_t digest = 16804569658485139439ull;
};
template <>
struct sample<sgd> {
  static constexpr sgd value{.lr = 0.05f, .momentum = 0.8f, .nesterov = true, .weight_decay = 0.01f};
  static constexpr std::uint64_t digest = 14975108807799220403ull;
};
template <>
struct sample<nesterov> {
  static constexpr nesterov value{.lr = 0.07f, .momentum = 0.9f};
  static constexpr std::uint64_t digest = 17059662567859602798ull;
};
template <>
struct sample<lion> {
  static constexpr lion value{.lr = 0.003f, .beta1 = 0.9f, .beta2 = 0.99f, .weight_decay = 0.1f};
  static constexpr std::uint64_t digest = 16053974620849299712ull;
};
template <>
struct sample<adam> {
  static constexpr adam value{.lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f};
  static constexpr std::uint64_t digest = 1581124586885050227ull;
};
template <>
struct sample<sign_sgd> {
  static constexpr sign_sgd value{.lr = 0.003f};
  static constexpr std::uint64_t digest = 11918933759802936739ull;
};
template <>
struct sample<signum> {
  static constexpr signum value{.lr = 0.003f, .beta = 0.9f, .weight_decay = 0.1f};
  static constexpr std::uint64_t digest = 17341956576372173461ull;
};
template <>
struct sample<heavy_ball> {
  static constexpr heavy_ball value{.lr = 0.07f, .momentum = 0.9f};
  static constexpr std::uint64_t digest = 8785717124149171767ull;
};
template <>
struct sample<lookahead> {
  static constexpr lookahead value{.alpha = 0.3f};
  static constexpr std::uint64_t digest = 13989228865932502585ull;
};
template <>
struct sample<slowmo> {
  static constexpr slowmo value{.lr = 0.8f, .momentum = 0.6f, .inner_lr = 0.07f};
  static constexpr std::uint64_t digest = 15200266190527835813ull;
};
template <>
struct sample<bmuf> {
  static constexpr bmuf value{.block_lr = 0.07f, .momentum = 0.7f, .nesterov = true};
  static constexpr std::uint64_t digest = 9004036852357255076ull;
};
template <>
struct sample<delayed_nesterov> {
  static constexpr delayed_nesterov value{.lr = 0.07f, .momentum = 0.9f, .period = 3, .activation = 0.2f};
  static constexpr std::uint64_t digest = 4163236512375642244ull;
};
template <>
struct sample<fedadam> {
  static constexpr fedadam value{.lr = 0.01f, .beta1 = 0.8f, .beta2 = 0.95f, .tau = 0.01f};
  static constexpr std::uint64_t digest = 16267967860970857502ull;
};
template <>
struct sample<fedyogi> {
  static constexpr fedyogi value{.lr = 0.01f, .beta1 = 0.8f, .beta2 = 0.95f, .tau = 0.01f};
  static constexpr std::uint64_t digest = 15917628005749853956ull;
};
template <>
struct sample<fedadagrad> {
  static constexpr fedadagrad value{.lr = 0.01f, .beta1 = 0.3f, .tau = 0.01f};
  static constexpr std::uint64_t digest = 1219246006026075793ull;
};
template <>
struct sample<schedule_free_adamw> {
  static constexpr schedule_free_adamw value{
      .lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f, .warmup = 5, .r = 0.7f};
  static constexpr std::uint64_t digest = 11266609064368180254ull;
};

constexpr std::size_t length = 9001;  // several tiles and a tail
constexpr int steps = 20;

/// Gradients of each step, the same in every trajectory.
std::vector<std::vector<float>> const gradients_of_steps = [] {
  numbers source(5);
  std::vector<std::vector<float>> all;
  for (int t = 0; t < steps; ++t) all.push_back(source.many(length, 0.3f));
  return all;
}();

/// Splits one flat array into tensors that start at `cuts`.
std::vector<tensor> cut(std::vector<float>& flat, std::vector<std::size_t> const& cuts) {
  std::vector<tensor> parts;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
    parts.push_back(
        {std::string("t").append(std::to_string(i)), {cuts[i + 1] - cuts[i]}, flat.data() + cuts[i]});
  return parts;
}
std::vector<std::size_t> const whole{0, length}, parts{0, 1, 256, 513, 4609, 4610, length};

/// θ after `steps` sweeps over tensors that start at `cuts`.
template <class O, class Executor>
std::vector<float> trajectory(O const& optimizer, Executor executor, std::vector<std::size_t> const& cuts,
                              float lr_scale = 1.0f) {
  using step = std::remove_const_t<decltype(optimizer.at(step_context{}))>;
  using kernel_type = inner_step_kernel<step, slot_count<O>>;
  std::vector<float> theta = numbers(3).many(length), gradient(length);
  layout const l = *layout::of(cut(theta, cuts), kernel_type::block);
  std::vector<float*> thetas;
  std::vector<void const*> gradients;
  std::vector<std::uint64_t> const are_bf16(l.rows().size(), 0);
  for (auto const& row : l.rows()) {
    thetas.push_back(row.data);
    gradients.push_back(gradient.data() + (row.data - theta.data()));
  }
  std::vector<std::vector<float>> slots(slot_count<O>, std::vector<float>(l.column_elements(), 0.0f));
  for (int t = 1; t <= steps; ++t) {
    std::copy_n(gradients_of_steps[static_cast<std::size_t>(t - 1)].begin(), length, gradient.begin());
    kernel_type kernel{optimizer.at({static_cast<std::uint64_t>(t), lr_scale}),
                       1.0f,
                       nullptr,
                       l.tiles().data(),
                       thetas.data(),
                       {gradients.data(), are_bf16.data()},
                       {},
                       {}};
    for (std::size_t s = 0; s < slots.size(); ++s) kernel.slots[s] = slots[s].data();
    executor.for_each(l.tiles().size(), kernel);
    executor.wait();
  }
  return theta;
}

template <class O, class F>
void on_its_executors(F&& f) {
  if constexpr (std::is_same_v<O, adamw> || std::is_same_v<O, plain_sgd>)
    laws::on_each_executor(f);
  else
    f(laws::main_executor{});
}

TEST_CASE_TEMPLATE_DEFINE("optimizer laws", O, optimizer_laws) {
  O const optimizer = sample<O>::value;
  std::vector<float> const expected = trajectory(optimizer, cpp{}, whole);

  SUBCASE("lr_scale = 0 is the identity") {
    on_its_executors<O>([&](auto executor) {
      CHECK(trajectory(optimizer, executor, whole, 0.0f) == numbers(3).many(length));
    });
  }
  SUBCASE("splitting a range changes nothing, on any executor") {
    on_its_executors<O>([&](auto executor) {
      CHECK(trajectory(optimizer, executor, whole) == expected);
      CHECK(trajectory(optimizer, executor, parts) == expected);
    });
  }
  SUBCASE("equals the scalar reference in double") {
    std::vector<double> p, slots(3 * length, 0.0);
    for (float x : numbers(3).many(length)) p.push_back(double(x));
    for (int t = 1; t <= steps; ++t) {
      auto const& gradient = gradients_of_steps[static_cast<std::size_t>(t - 1)];
      for (std::size_t i = 0; i < length; ++i)
        reference::step(optimizer, t, p[i], double(gradient[i]), &slots[3 * i]);
    }
    double worst = 0;
    for (std::size_t i = 0; i < length; ++i) worst = std::max(worst, std::fabs(double(expected[i]) - p[i]));
    // 20 steps with a few roundings each on |p| < 3: 4e-6 is 16 ulp. A wrong coefficient shows at 1e-3.
    // Lion and signum may choose the other sign where the momentum is within rounding of zero. Then two
    // steps' worth of difference is allowed.
    bool const by_sign = std::is_same_v<O, lion> || std::is_same_v<O, signum>;
    CHECK(worst < (by_sign ? 2.1 * 0.003 : 4e-6));
  }
  SUBCASE("replicated: one digest for every compiler, level and backend") {
    static_assert(replicated<O>);
    CHECK(laws::digest(expected) == sample<O>::digest);
  }
}
TEST_CASE_TEMPLATE_INVOKE(optimizer_laws, adamw, plain_sgd, sgd, nesterov, lion, adam, sign_sgd, signum,
                          heavy_ball, lookahead, slowmo, bmuf, delayed_nesterov, fedadam, fedyogi, fedadagrad,
                          schedule_free_adamw);

TEST_CASE_TEMPLATE_DEFINE("optimizer laws: in a trainer", O, trainer_laws) {
  using trainer_type = laws::trainer_of<O, O, f32, alone>;
  O const optimizer = sample<O>::value;

  SUBCASE("steps are those of the sweep, counted from 1") {
    std::vector<float> theta = numbers(3).many(length);
    trainer_type trainer({.inner = optimizer}, cut(theta, parts));
    for (std::vector<float> gradient : gradients_of_steps) {
      std::vector<std::span<float const>> gradients;
      for (tensor const& part : cut(gradient, parts)) gradients.emplace_back(part.data, part.size());
      trainer.step(gradients);
    }
    CHECK(theta == trajectory(optimizer, cpp{}, whole));
  }
  SUBCASE("slots start at zero") {
    std::vector<float> theta = numbers(3).many(300);
    trainer_type trainer({.inner = optimizer}, laws::one_tensor(theta));
    for (auto slot : O::slots) {
      for (char const* role : {"inner.", "outer."}) {
        auto const cell = trainer.cell("w", role + std::string(slot));
        REQUIRE(cell.size() == 300);
        CHECK(std::count(cell.begin(), cell.end(), 0.0f) == 300);
      }
    }
  }
  SUBCASE("as an outer optimizer it steps the anchor the same way") {
    // Δ = θ̄ − θ is exact for these magnitudes, so the round gets exactly the numbers that the inner step
    // got.
    std::vector<float> theta(1000, 1.0f), inner_theta(1000, 1.0f);
    trainer_type outer({.outer = optimizer}, laws::one_tensor(theta));
    trainer_type inner({.inner = optimizer}, laws::one_tensor(inner_theta));
    std::vector<float> g(1000);
    for (std::size_t i = 0; i < g.size(); ++i) g[i] = 0.5f + static_cast<float>(i % 7) * 0.03125f;
    std::vector<std::span<float const>> const gradients{g};
    outer.step(gradients, {.lr_scale = 0});  // counts for the mean, and changes nothing
    for (std::size_t i = 0; i < g.size(); ++i) theta[i] -= g[i];
    outer.sync();
    inner.step(gradients);
    CHECK(theta == inner_theta);
  }
}
TEST_CASE_TEMPLATE_INVOKE(trainer_laws, adamw, plain_sgd, delayed_nesterov);

}  // namespace

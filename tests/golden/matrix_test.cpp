// SPDX-License-Identifier: Apache-2.0
// Whole-tensor optimizers on a small tanh network, compared with NumPy (make_matrix_goldens.py).
#include "fixture.hpp"
#include "support/whole_tensor.hpp"

#include <doctest/doctest.h>

#if DILOCO_HAS_EIGEN
#include <diloco/linear_algebra/eigen.hpp>
#endif

#include <cmath>

namespace {

using golden::fixture;

/// e = w1·tanh(w2·x + b) − y on successive mini-batches, with its gradients in double.
struct network {
  fixture const& from;
  std::size_t out = 0, hidden = from["start.b"].size(), in = 0, batch = 0, batches = 3;
  explicit network(fixture const& f) : from(f) {
    out = f["start.w1"].size() / hidden;
    in = f["start.w2"].size() / hidden;
    batch = f["x"].size() / in / batches;
  }
  std::vector<std::vector<float>> gradients(std::vector<float> const& w1, std::vector<float> const& w2,
                                            std::vector<float> const& b, std::size_t step) const {
    std::vector<double> g1(w1.size()), g2(w2.size()), gb(b.size()), h(hidden), e(out);
    for (std::size_t s = step % batches * batch; s < (step % batches + 1) * batch; ++s) {
      float const *const x = &from["x"][s * in], *const y = &from["y"][s * out];
      for (std::size_t j = 0; j < hidden; ++j) {
        double z = double(b[j]);
        for (std::size_t k = 0; k < in; ++k) z += double(w2[j * in + k]) * double(x[k]);
        h[j] = std::tanh(z);
      }
      for (std::size_t i = 0; i < out; ++i) {
        e[i] = -double(y[i]);
        for (std::size_t j = 0; j < hidden; ++j) e[i] += double(w1[i * hidden + j]) * h[j];
        e[i] *= 2.0 / double(batch);
      }
      for (std::size_t j = 0; j < hidden; ++j) {
        double z = 0;
        for (std::size_t i = 0; i < out; ++i) {
          z += e[i] * double(w1[i * hidden + j]);
          g1[i * hidden + j] += e[i] * h[j];
        }
        z *= 1 - h[j] * h[j];
        gb[j] += z;
        for (std::size_t k = 0; k < in; ++k) g2[j * in + k] += z * double(x[k]);
      }
    }
    return {{g1.begin(), g1.end()}, {g2.begin(), g2.end()}, {gb.begin(), gb.end()}};
  }
};

/// Steps the matrices, and the vector too if the optimizer accepts it. Checks `golden::distance` after 1, 10
/// and 100 steps.
template <class O>
void check_trajectory(O const& optimizer, fixture const& f, std::vector<std::string> const& states) {
  constexpr double allowed[] = {2e-7, 2e-6, 1e-5};
  network const model(f);
  std::size_t const shape[][2] = {{model.out, model.hidden}, {model.hidden, model.in}, {model.hidden, 1}};
  std::string const names[] = {"w1", "w2", "b"};
  std::size_t const extents[] = {model.hidden};
  bool const vectors = diloco::shape_error_of<O>(extents).empty();
  std::vector<support::whole_tensor<O>> tensors;
  for (std::size_t i = 0; i < 3; ++i) tensors.emplace_back(shape[i][0], shape[i][1], f["start." + names[i]]);
  for (std::size_t step = 1, seen = 0; step <= 100; ++step) {
    auto const g = model.gradients(tensors[0].p, tensors[1].p, tensors[2].p, step - 1);
    for (std::size_t i = 0; i < (vectors ? 3u : 2u); ++i) tensors[i].step(optimizer, g[i]);
    if (step != 1 && step != 10 && step != 100) continue;
    for (std::size_t i = 0; i < 3; ++i) {
      std::string const entry = "after." + std::to_string(step) + "." + names[i];
      CAPTURE(entry);
      CHECK(golden::distance(tensors[i].p, f[entry]) <= allowed[seen]);
    }
    ++seen;
  }
  for (std::size_t s = 0; s < states.size(); ++s) {
    if (states[s].empty()) continue;
    for (std::size_t i = 0; i < (vectors ? 3u : 2u); ++i) {
      std::string const entry = "state." + states[s] + "." + names[i];
      CAPTURE(entry);
      CHECK(golden::distance(tensors[i].slots[s], f[entry]) <= 1e-5);
    }
  }
}

#if DILOCO_HAS_EIGEN
void check_muon(std::string const& name) {
  fixture const f(name);
  diloco::muon<diloco::eigen> const optimizer{
      .lr = f.number("lr"),
      .momentum = f.number("momentum"),
      .nesterov = f.number("nesterov") != 0,
      .weight_decay = f.number("weight_decay"),
      .scaling = diloco::muon_scaling(int(f.number("scaling"))),
      .coefficients = diloco::muon_coefficients(int(f.number("coefficients"))),
      .average = diloco::muon_average(int(f.number("average")))};
  check_trajectory(optimizer, f, {"momentum"});
}
#endif

}  // namespace

#if DILOCO_HAS_EIGEN
TEST_CASE("golden: muon with lerp, Nesterov, decay and one polynomial follows NumPy") { check_muon("muon"); }
TEST_CASE("golden: muon with a sum, Nesterov and the spectral scale follows NumPy") {
  check_muon("muon_spectral");
}
TEST_CASE("golden: muon with a sum, five polynomials and matched RMS follows NumPy") {
  check_muon("muon_dion");
}
#endif

#if DILOCO_HAS_EIGEN
TEST_CASE("golden: soap follows its reference implementation's order") {
  fixture const f("soap");
  check_trajectory(diloco::soap<diloco::eigen>{.lr = f.number("lr"),
                                               .beta1 = f.number("beta1"),
                                               .beta2 = f.number("beta2"),
                                               .eps = f.number("eps"),
                                               .weight_decay = f.number("weight_decay"),
                                               .frequency = std::uint32_t(f.number("frequency"))},
                   f, {"", "v"});  // an eigenvector may have either sign, and so may an element of m
}
#endif

TEST_CASE("golden: adafactor follows PyTorch's formula") {
  fixture const f("adafactor");
  check_trajectory(diloco::adafactor{.lr = f.number("lr"),
                                     .beta2_decay = f.number("beta2_decay"),
                                     .eps1 = f.number("eps1"),
                                     .eps2 = f.number("eps2"),
                                     .d = f.number("d"),
                                     .weight_decay = f.number("weight_decay")},
                   f, {});
}

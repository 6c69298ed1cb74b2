// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/diloco.hpp>
#include <diloco/state/safetensors.hpp>

#include <algorithm>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace golden {

/// The entries of a file in fixtures/, by name: float32, read by the library's own reader. make_goldens.py
/// describes them.
class fixture {
 public:
  explicit fixture(std::string const& name) : path_(DILOCO_GOLDEN_DIR "/") {
    path_.append(name).append(".safetensors");
    auto const file = diloco::safetensors::load(path_).value();
    for (auto const& entry : file.holds.entries) {
      auto const values = entry.as<float>().value();
      entries_[entry.name].assign(values.begin(), values.end());
    }
  }

  [[nodiscard]] std::vector<float> const& operator[](std::string const& name) const {
    auto const found = entries_.find(name);
    if (found == entries_.end()) throw std::runtime_error(path_ + " has no entry " + name);
    return found->second;
  }
  [[nodiscard]] float number(std::string const& name) const { return (*this)[name].at(0); }

 private:
  std::string path_;
  std::map<std::string, std::vector<float>> entries_;
};

/// The network's parameters (start.T of a fixture). Each tensor has its own allocation, as a caller's would.
class network {
 public:
  explicit network(fixture const& from) {
    for (auto const& [name, shape] : tensors_of_the_network()) {
      values_.push_back(from["start." + name]);
      tensors.push_back({.name = name, .shape = shape, .data = values_.back().data()});
    }
  }

  /// Name and shape, in the order in which the optimizers see them.
  static std::vector<std::pair<std::string, std::vector<std::size_t>>> const& tensors_of_the_network() {
    static std::vector<std::pair<std::string, std::vector<std::size_t>>> const all{
        {"w1", {6, 4}}, {"b1", {6}}, {"w2", {1, 6}}, {"b2", {1}}};
    return all;
  }

 private:
  std::vector<std::vector<float>> values_;

 public:
  std::vector<diloco::tensor> tensors;
};

/// The gradients recorded for inner step `step` (from 0): one row of `prefix`.T for each tensor.
inline std::vector<std::span<float const>> gradients(fixture const& from, std::string const& prefix,
                                                     std::size_t step) {
  std::vector<std::span<float const>> rows;
  for (auto const& [name, shape] : network::tensors_of_the_network()) {
    std::size_t const size = from["start." + name].size();
    rows.push_back(std::span(from[prefix + "." + name]).subspan(step * size, size));
  }
  return rows;
}

/// Largest |got − want| as a share of the largest |want| of the same tensor. A relative bound per element
/// would fail: an element that passes through zero has an absolute error as large as its neighbours'.
inline double distance(std::span<float const> got, std::span<float const> want) {
  if (got.size() != want.size()) return HUGE_VAL;
  double gap = 0, largest = 1e-30;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (!std::isfinite(got[i])) return HUGE_VAL;
    gap = std::max(gap, std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i])));
    largest = std::max(largest, std::abs(static_cast<double>(want[i])));
  }
  return gap / largest;
}

}  // namespace golden

// SPDX-License-Identifier: Apache-2.0
// Shared by the diloco sides of run.py: the tensors that they train and the requests that they answer.
#pragma once

#include <diloco/diloco.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace peer {

inline constexpr std::size_t parameters = 16'777'216;
inline constexpr int warm_up = 2;
using milliseconds = std::vector<double>;
using shape = std::vector<std::size_t>;

inline std::size_t size_of(shape const& s) { return s[0] * (s.size() > 1 ? s[1] : 1); }

/// A GPT's separately allocated tensors, as in pytorch_peer.py: `total` elements in all, the smallest 256.
inline std::vector<shape> shapes_of_a_gpt(std::size_t total, std::size_t width = 384) {
  std::vector<shape> shapes;
  for (int layer = 0; layer < 8; ++layer) {
    shapes.insert(shapes.end(), {{width}, {width}, {3 * width, width}, {3 * width}, {width, width}, {width}});
    shapes.insert(shapes.end(),
                  {{width}, {width}, {4 * width, width}, {4 * width}, {width, 4 * width}, {width}});
  }
  shapes.insert(shapes.end(), {{width}, {width}, {256, width}});
  std::size_t left = total;
  for (auto const& s : shapes) left -= size_of(s);
  shapes.push_back({left / width, width});
  if (left % width != 0) shapes.push_back({left % width});
  return shapes;
}
inline std::vector<shape> shapes_of(std::string const& layout, std::size_t total) {
  return layout == "flat" ? std::vector<shape>{{total}} : shapes_of_a_gpt(total);
}

/// The sum of four uniform numbers: close to Gaussian, symmetric, unit variance.
inline float noise(std::uint64_t& state) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  float sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<float>(state >> (16 * i) & 0xffff) / 65535.0f - 0.5f;
  return 1.7320508f * sum;
}

/// Maps the name of a work to a function that runs it so many times and returns the times.
using works = std::map<std::string, std::function<milliseconds(int)>>;

inline void answer(works const& all, std::string const& work, int repeat) {
  auto const found = all.find(work);
  if (found == all.end()) throw std::runtime_error("unknown work '" + work + "'");
  std::ostringstream line;
  line << "{\"work\": \"" << work << "\", \"ms\": [";
  milliseconds const samples = found->second(repeat);
  for (std::size_t i = 0; i < samples.size(); ++i) line << (i == 0 ? "" : ", ") << samples[i];
  std::cout << line.str() << "]}" << std::endl;
}

inline std::string after(std::vector<std::string> const& arguments, std::string const& flag,
                         char const* otherwise) {
  auto const at = std::find(arguments.begin(), arguments.end(), flag);
  return at == arguments.end() || at + 1 == arguments.end() ? otherwise : *(at + 1);
}

/// With --serve, answers "WORK REPEAT" lines from standard input. Otherwise runs every work once, with
/// --repeat steps each.
inline void run(works const& all, std::vector<std::string> const& arguments) {
  if (std::find(arguments.begin(), arguments.end(), "--serve") != arguments.end()) {
    std::string work;
    for (int repeat = 0; std::cin >> work >> repeat;) answer(all, work, repeat);
  } else {
    for (auto const& entry : all)
      answer(all, entry.first, std::atoi(after(arguments, "--repeat", "7").c_str()));
  }
}

}  // namespace peer

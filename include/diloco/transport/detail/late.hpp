// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/transport.hpp>
#include <diloco/core/text.hpp>

#include <string>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

inline bool is_past(deadline d) { return std::chrono::steady_clock::now() >= d; }

/// Seconds between two times, rounded to the nearest millisecond, never below 0.
inline double seconds_between(deadline from, deadline to) {
  auto const ms = std::chrono::round<std::chrono::milliseconds>(to - from).count();
  return ms < 0 ? 0.0 : static_cast<double>(ms) / 1000;
}

/// "rank 2", "ranks 1, 2 and 5". The text is about `total` ranks and names at most eight of them.
inline std::string names_of(std::vector<int> const& ranks, std::size_t total) {
  std::string text = total == 1 ? "rank " : "ranks ";
  std::size_t const named = ranks.size() < 8 ? ranks.size() : 8;
  for (std::size_t i = 0; i < named; ++i) {
    if (i > 0) text += i + 1 == total ? " and " : ", ";
    text += say({ranks[i]});
  }
  if (named < total) text += say({" and ", total - named, " more"});
  return text;
}
inline std::string names_of(std::vector<int> const& ranks) { return names_of(ranks, ranks.size()); }

/// "; all_gather waited 1.002 s of 1 s", the end of every sentence about a missed deadline.
inline std::string waited(std::string_view operation, deadline since, deadline d) {
  return say({"; ", operation, " waited ", seconds_between(since, std::chrono::steady_clock::now()), " s of ",
              seconds_between(since, d), " s"});
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

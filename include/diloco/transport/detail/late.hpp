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
double seconds_between(deadline from, deadline to);

/// "rank 2", "ranks 1, 2 and 5". The text is about `total` ranks and names at most eight of them.
std::string names_of(std::vector<int> const& ranks, std::size_t total);
inline std::string names_of(std::vector<int> const& ranks) { return names_of(ranks, ranks.size()); }

/// "; all_gather waited 1.002 s of 1 s", the end of every sentence about a missed deadline.
std::string waited(std::string_view operation, deadline since, deadline d);

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/transport/detail/late_definitions.hpp>
#endif

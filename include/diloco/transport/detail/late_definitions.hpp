// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/late.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

DILOCO_CORE std::string names_of(std::vector<int> const& ranks, std::size_t total) {
  std::string text = total == 1 ? "rank " : "ranks ";
  std::size_t const named = ranks.size() < 8 ? ranks.size() : 8;
  for (std::size_t i = 0; i < named; ++i) {
    if (i > 0) text += i + 1 == total ? " and " : ", ";
    text += say({ranks[i]});
  }
  if (named < total) text += say({" and ", total - named, " more"});
  return text;
}

DILOCO_CORE std::string waited(std::string_view operation, deadline since, deadline d) {
  return say({"; ", operation, " waited ", seconds_between(since, std::chrono::steady_clock::now()), " s of ",
              seconds_between(since, d), " s"});
}

DILOCO_CORE double seconds_between(deadline from, deadline to) {
  auto const ms = std::chrono::round<std::chrono::milliseconds>(to - from).count();
  return ms < 0 ? 0.0 : static_cast<double>(ms) / 1000;
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

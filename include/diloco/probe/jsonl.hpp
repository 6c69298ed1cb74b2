// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/probe.hpp>

#include <cstdio>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// One JSON object per round on a C stream that the caller keeps open: every field is a number, so nothing needs quoting.
struct jsonl {
  std::FILE* out;
  int rank = 0;

  void operator()(round_landed const& e) const {
    std::fprintf(out,
                 "{\"event\":\"round_landed\",\"rank\":%d,\"round\":%llu,\"step\":%llu,\"sent_bytes\":%zu,"
                 "\"wait_seconds\":%.9g,\"total_weight\":%.17g}\n",
                 rank, static_cast<unsigned long long>(e.round), static_cast<unsigned long long>(e.step), e.sent_bytes,
                 e.wait_seconds, e.total_weight);
  }
  void operator()(round_aborted const& e) const {
    std::fprintf(out, "{\"event\":\"round_aborted\",\"rank\":%d,\"round\":%llu,\"cause\":%d}\n", rank,
                 static_cast<unsigned long long>(e.round), e.cause);
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

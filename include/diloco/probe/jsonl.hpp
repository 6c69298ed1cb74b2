// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/probe.hpp>
#include <diloco/core/text.hpp>

#include <cstdio>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Writes one JSON object per round to a C stream that the caller keeps open. Every field is a number, so
/// nothing needs quoting. Numbers do not depend on the locale and read back as the same values. A line is one
/// write, so ranks can share the stream.
struct jsonl {
  std::FILE* out;
  int rank = 0;

  void operator()(round_landed const& e) const {
    line({"{\"event\":\"round_landed\",\"rank\":", rank, ",\"round\":", e.round, ",\"step\":", e.step,
          ",\"sent_bytes\":", e.sent_bytes, ",\"wait_seconds\":", e.wait_seconds,
          ",\"total_weight\":", e.total_weight, "}\n"});
  }
  void operator()(round_aborted const& e) const {
    line({"{\"event\":\"round_aborted\",\"rank\":", rank, ",\"round\":", e.round, ",\"cause\":", e.cause,
          "}\n"});
  }

 private:
  void line(std::initializer_list<piece> pieces) const {
    char text[320];  // six numbers of at most 24 characters, and 100 characters of names
    std::fwrite(text, 1, write_pieces(text, pieces), out);
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

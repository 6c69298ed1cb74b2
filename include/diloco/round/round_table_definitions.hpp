// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/round/round_table.hpp>

#include <cstring>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE round_table::round_table(memory_source const& where, wire_plan const& plan,
                                                 std::size_t rows, int contributors)
    : ranks_(static_cast<std::size_t>(contributors)),
      answers_(where.allocate_shared(ranks_ *
                                     (vote_bytes + vote_copies * sizeof(std::uint64_t) + sizeof(double)))) {
  auto const shards = static_cast<std::size_t>(plan.shards());
  array_layout a;
  auto const slices = a.add<slice_record>(plan.slices().size());
  auto const columns = a.add<std::size_t>(plan.planes() == 0 ? 0 : shards);
  auto const from = a.add<float*>(rows * plan.planes()), to = a.add<float*>(rows * plan.planes());
  auto const messages = a.add<std::byte const*>(ranks_), votes = a.add<std::byte const*>(ranks_);
  auto const coefficients = a.add<float>(ranks_);
  auto const headers = a.add<message_header>(shards > vote_copies ? shards : vote_copies);
  auto const bad_row = a.add<std::uint32_t>(1), moved = a.add<std::uint32_t>(1);
  memory_ = mirrored(where, a.bytes());
  auto const at = [&](std::byte* base) {
    return arrays{slices.in(base),   columns.in(base), from.in(base),         to.in(base),
                  messages.in(base), votes.in(base),   coefficients.in(base), headers.in(base),
                  bad_row.in(base),  moved.in(base)};
  };
  host_ = at(memory_.host());
  kernel_ = at(memory_.seen_by_kernels());
  if (!plan.slices().empty())
    std::memcpy(host_.slices, plan.slices().data(), plan.slices().size() * sizeof(slice_record));
  for (std::size_t s = 0; plan.planes() != 0 && s < shards; ++s)
    host_.shard_columns[s] = plan[static_cast<int>(s)].column;
  *host_.bad_row = *host_.moved = message_header::no_row;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

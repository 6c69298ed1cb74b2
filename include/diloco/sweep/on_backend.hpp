// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/sweep/backend.hpp>

#include <cstring>
#include <new>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// digest_of for a column. If the host cannot read the column, the executor computes the chains, and one byte
/// in 64 is copied to the host. Waits.
std::uint64_t digest_of_column(backend const& where, float const* from, std::size_t n);

/// The digest of a tensor as the caller gave it. Waits.
std::uint64_t digest_of_tensor(backend const& where, layout::row const& r);

/// Runs 256 tiles, so that a static schedule reaches every thread of a pool of up to 256. Waits. Costs
/// microseconds and 1.1 KiB of temporary memory.
float_modes_seen float_modes_on(backend const& where);

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/sweep/on_backend_definitions.hpp>
#endif

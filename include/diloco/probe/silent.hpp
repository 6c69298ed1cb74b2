// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Accepts no events and costs nothing.
struct silent {};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

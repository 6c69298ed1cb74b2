// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace diloco {
inline namespace v0 {

/// Hears nothing and costs nothing.
struct silent {};

}  // namespace v0
}  // namespace diloco

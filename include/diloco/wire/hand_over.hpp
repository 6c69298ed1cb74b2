// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/concepts/transport.hpp>

namespace diloco {
inline namespace v0 {

/// Where wires lie: with the columns, where the transport sends from there.
template <transport T, executor E>
[[nodiscard]] buffer allocate_wire_for(E const& where, std::size_t bytes) {
  if (bytes == 0) return {};
  return sends_from_device<T> ? where.allocate(bytes) : where.allocate_wire(bytes);
}

/// What was enqueued precedes the next exchange: the transport waits on the device, or the host here.
template <transport T, executor E>
void hand_over(T& transport, E const& where) {
  if constexpr (requires { transport.after(where); })
    transport.after(where);
  else
    where.wait();
}

}  // namespace v0
}  // namespace diloco

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/concepts/transport.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Whether the host cannot see the wires.
template <transport T, executor E>
inline constexpr bool wires_are_away = wires_lie_with_columns<T> && !E::columns_on_host;

template <transport T, executor E>
[[nodiscard]] buffer allocate_wire_for(E const& where, std::size_t bytes) {
  if (bytes == 0) return {};
  return wires_are_away<T, E> ? where.allocate(bytes) : where.allocate_wire(bytes);
}

/// What was enqueued precedes the next exchange: the transport waits on the device, or the host here.
template <transport T, executor E>
void hand_over(T& transport, E const& where) {
  if constexpr (requires { transport.after(where); })
    transport.after(where);
  else
    where.wait();
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

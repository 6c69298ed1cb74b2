// SPDX-License-Identifier: Apache-2.0
// A token and its position become a vector.
#pragma once

#include "../matrix.hpp"
#include "../parameters.hpp"

#include <span>

namespace gpt {

// x (B, T, C) = token_embedding[token] + position_embedding[position]
template <class Real>
void embed(Real* x, std::span<std::uint8_t const> tokens, parameter<Real> const& token_embedding,
           parameter<Real> const& position_embedding, int context) {
  int const c = static_cast<int>(token_embedding.shape[1]);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::ptrdiff_t const position = static_cast<std::ptrdiff_t>(i) % context;
    row_view<Real>(x + static_cast<std::ptrdiff_t>(i) * c, c) =
        const_row_view<Real>(token_embedding.value.data() + std::ptrdiff_t(tokens[i]) * c, c) +
        const_row_view<Real>(position_embedding.value.data() + position * c, c);
  }
}

template <class Real>
void embed_backward(Real const* dx, std::span<std::uint8_t const> tokens, parameter<Real>& token_embedding,
                    parameter<Real>& position_embedding, int context) {
  int const c = static_cast<int>(token_embedding.shape[1]);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::ptrdiff_t const position = static_cast<std::ptrdiff_t>(i) % context;
    const_row_view<Real> const row(dx + static_cast<std::ptrdiff_t>(i) * c, c);
    row_view<Real>(token_embedding.gradient.data() + std::ptrdiff_t(tokens[i]) * c, c) += row;
    row_view<Real>(position_embedding.gradient.data() + position * c, c) += row;
  }
}

}  // namespace gpt

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/diloco.hpp>

namespace golden {

/// Largest allowed distance of a tensor from the reference, as a share of its largest |value|
/// (`golden::distance`). One fp32 rounding is 6e-8.
/// The library fuses multiply-adds where PyTorch rounds twice, so neither is "right". Over 100 steps,
/// PyTorch's own float32 drifts 5e-7 (sgd) to 4e-6 (lion) from the same steps in float64.
/// The library was seen 4e-8 from PyTorch after one step and 6e-7 after a hundred. From the formulas of outer
/// optimizers, which sum displacements instead of gradients, it was seen 2e-6 away.
struct trajectory_tolerance {
  double parameters_after_1, parameters_after_10, parameters_after_100;
  /// state after the last step; its error stays small, because it does not accumulate into itself
  double slots;
};

template <class Optimizer>
inline constexpr trajectory_tolerance tolerance_of{2e-7, 2e-6, 1e-5, 1e-5};
template <>
inline constexpr trajectory_tolerance tolerance_of<diloco::sgd>{2e-7, 5e-7, 2e-6, 2e-6};

/// The outer loop with lossless messages: K × 5 AdamW steps per round, 20 rounds. Seen: 7e-8, 8e-8, 2e-7,
/// 1.5e-6 (2.7e-6 in the slots of outer optimizers other than Nesterov), 4e-7.
struct outer_tolerance {
  double anchor_after_1, anchor_after_2, anchor_after_20;
  /// Δ = θ̄ − θ is a small difference of large numbers, so a rounding of θ counts |θ| / |Δ| times
  double momentum;
  double inner_slots;
};
inline constexpr outer_tolerance outer_tolerance_f32{2e-7, 5e-7, 2e-6, 1e-5, 2e-6};

/// Decoded values, in the same measure. 0 means the same bits: the grid is q · (1/L) · amax in this order on
/// both sides.
/// sign: its scale is a mean of |x| in units of amax · 2⁻²². If one outlier sets amax, the mean is amax /
/// 256, and such a unit is 3e-5 of it.
template <class Compressor>
inline constexpr double tolerance_of_decoded = 0;
template <int Block>
inline constexpr double tolerance_of_decoded<diloco::sign<Block>> = 3e-5;

}  // namespace golden

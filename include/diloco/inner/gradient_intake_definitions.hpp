// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/inner/gradient_intake.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE result<> gradient_intake::check(std::size_t r, gradient_view const& g) const {
  layout::row const& row = model_.rows()[r];
  if (row.frozen || g.size == 0) return {};
  if (g.is_bf16 && row.bf16 == nullptr) {
    return run_.fail(cause::bad_layout, say({"step: the gradient of '", row.name,
                                             "' is bfloat16 and the parameter float32; widen it"}));
  }
  if (g.size != row.size) {
    return run_.fail(cause::bad_layout, say({"step: the gradient of '", row.name, "' has ", g.size,
                                             " elements, the parameter ", row.size}));
  }
  if (g.data != nullptr) return {};
  return run_.fail(cause::bad_layout, say({"step: the gradient of '", row.name, "' points to nothing"}));
}

/// Writes down where a gradient lies, once none can be refused any more.
DILOCO_COLD DILOCO_CORE void gradient_intake::list(std::size_t r, gradient_view const& g,
                                                   bool& changed) const {
  lookup_table::arrays const& to = lookup_.host();
  void const* const at = g.size == 0 ? nullptr : g.data;
  std::uint64_t const kind = g.is_bf16 ? 1 : 0;
  if (model_.rows()[r].frozen || (to.gradients[r] == at && to.gradient_is_bf16[r] == kind)) return;
  if (!std::exchange(changed, true)) where_.wait();  // kernels may still read the pointers of the step before
  to.gradients[r] = at;
  to.gradient_is_bf16[r] = kind;
}

DILOCO_COLD DILOCO_CORE void gradient_intake::forget() const {
  bool changed = false;
  for (std::size_t r = 0; r < model_.rows().size(); ++r) list(r, {}, changed);
  if (changed) lookup_.upload_gradients(where_);
}

DILOCO_COLD DILOCO_CORE result<> gradient_intake::measure(step_options const& o) const {
  bool const checks = DILOCO_CHECKS >= DILOCO_CHECKS_NORMAL || o.skip_not_finite;
  if (!clips()) return checks ? find_too_large(o.grad_scale) : result<>{};
  if (checks && facts_.clip_norm > facts_.largest) {
    if (auto fine = find_too_large(o.grad_scale); !fine)
      return fine;  // what is clipped may still be too large
  }
  std::size_t const tiles = lookup_.tile_count();
  if (checks) *lookup_.not_finite() = message_header::no_row;
  where_.for_each(tiles, norm_partials_kernel{lookup_->tiles, rows(), norm_partials_,
                                              checks ? lookup_.not_finite() : nullptr});
  std::size_t const groups = sum_partials_kernel::groups(tiles);
  where_.for_each(groups, sum_partials_kernel{norm_partials_, tiles, norm_partials_ + tiles});
  where_.for_each(
      1, clip_factor_kernel{norm_partials_ + tiles, groups, o.grad_scale, facts_.clip_norm, factor_});
  return checks ? found_bad_row(what_) : result<>{};
}

/// A gradient that is finite and beyond what the inner optimizer bears, such as the square root of the
/// largest float under adamw.
DILOCO_COLD DILOCO_CORE result<> gradient_intake::find_too_large(float scale) const {
  if (find_not_finite(rows(), what_, scale, facts_.largest)) return {};
  std::uint32_t const row = *lookup_.not_finite();
  if (auto fine = find_not_finite(rows(), what_, scale); !fine) return fine;
  return run_.fail(cause::not_finite, say({what_, " '", model_.rows()[row].name, "' holds a value beyond ",
                                           facts_.largest / scale, ", the largest that ", facts_.inner,
                                           " bears; clip it, or lower grad_scale"}));
}

DILOCO_COLD DILOCO_CORE result<> gradient_intake::found_bad_row(std::string_view what) const {
  where_.wait();
  if (*lookup_.not_finite() == message_header::no_row) return {};
  return run_.fail(cause::not_finite, say({what, " '", model_.rows()[*lookup_.not_finite()].name,
                                           "' holds a value that is not finite"}));
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/gradients.hpp>
#include <diloco/core/field.hpp>
#include <diloco/inner/step_result.hpp>
#include <diloco/state/columns.hpp>
#include <diloco/state/lookup_table.hpp>
#include <diloco/state/run_state.hpp>
#include <diloco/sweep/backend.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Checks gradients, measures their norm, and stores their addresses for kernels.
class gradient_intake {
 public:
  struct facts {
    std::string_view inner;     ///< name of the optimizer
    float largest = 0;          ///< largest magnitude accepted
    bool needs_factor = false;  ///< kernels read the factor from memory, even without clipping
    float clip_norm = static_cast<float>(unbounded);  ///< the default: no clipping
  };
  DILOCO_COLD gradient_intake(run_state& run, layout const& l, lookup_table const& lookup,
                              backend const& where, state_columns& state, facts const& f)
      : run_(run), model_(l), lookup_(lookup), where_(where), facts_(f) {
    if (facts_.needs_factor || clips())
      factor_ = reinterpret_cast<gradient_factor*>(state.add_floats(
          where, "gradient_factor", column_kind::scratch, sizeof(gradient_factor) / sizeof(float)));
    if (clips()) {
      std::size_t const tiles = lookup.tile_count(), doubles = tiles + sum_partials_kernel::groups(tiles);
      norm_partials_ = reinterpret_cast<double*>(state.add_floats(
          where, "norm_partials", column_kind::scratch, doubles * sizeof(double) / sizeof(float)));
    }
  }
  [[nodiscard]] bool clips() const { return facts_.clip_norm < static_cast<float>(unbounded); }
  /// Address of the factor that replaces grad_scale; null: use grad_scale.
  [[nodiscard]] float const* factor() const { return factor_ == nullptr ? nullptr : &factor_->factor; }

  /// Checks sizes, stores addresses for kernels, then checks values and measures the norm. Waits if it checks
  /// values or an address changed. On an error θ and slots stay; addresses, norm and factor may be
  /// overwritten.
  template <class Gradients>
  [[nodiscard]] result<> accept(Gradients const& gradients, step_options const& o) {
    if (static_cast<std::size_t>(gradients.size()) != model_.rows().size()) {
      return run_.fail(cause::bad_layout, say({"step: ", gradients.size(), " gradients for ",
                                               model_.rows().size(), " parameters"}));
    }
    std::size_t r = 0, there = 0;
    for (auto const& each : gradients) {
      gradient_view const g = detail::view_of(each);
      if (auto fine = check(r, g); !fine) return fine;
      there += model_.rows()[r++].frozen || g.size == 0 ? 0 : 1;
    }
    if (there == 0)
      return run_.fail(cause::bad_layout,
                       "step: no tensor has a gradient; leave a step out with skip_step()");
    return run_.guard("step", [&] {
      std::size_t row = 0;
      bool changed = false;
      for (auto const& each : gradients) list(row++, detail::view_of(each), changed);
      if (changed) lookup_.upload_gradients(where_);
      return measure(o);
    });
  }
  /// As if no tensor had a gradient.
  void forget() const;
  /// Enqueues factor ← grad_scale if the recipe does not clip.
  void scale_only(float grad_scale) const {
    if (factor_ != nullptr && !clips()) where_.for_each(1, plain_factor_kernel{grad_scale, factor_});
  }
  /// Norm of the last gradients that accept() measured, refused ones included. Before clipping; 0 if the
  /// recipe does not clip. Waits.
  [[nodiscard]] float norm() const {
    if (!clips()) return 0.0f;
    if (where_.columns_on_host()) {
      where_.wait();
      return factor_->norm;
    }
    where_.copy_to_host(lookup_.norm(), &factor_->norm, sizeof(float));
    where_.wait();
    return *lookup_.norm();
  }
  /// An error names the first row with a non-finite value, or with a finite magnitude above `most` after
  /// scaling. The text says "not finite" in both cases. Waits.
  template <class Rows>
  [[nodiscard]] result<> find_not_finite(Rows const& rows, std::string_view what, float scale = 1.0f,
                                         float most = static_cast<float>(unbounded)) const {
    float const scaled = most / scale, all = static_cast<float>(unbounded);  // bounds before scaling
    float const largest = scaled < all ? scaled : all;
    *lookup_.not_finite() = message_header::no_row;
    where_.for_each(lookup_.tile_count(),
                    find_non_finite_kernel<Rows>{lookup_->tiles, rows, largest, lookup_.not_finite()});
    return found_bad_row(what);
  }

 private:
  [[nodiscard]] result<> check(std::size_t r, gradient_view const& g) const;
  void list(std::size_t r, gradient_view const& g, bool& changed) const;
  [[nodiscard]] result<> measure(step_options const& o) const;
  [[nodiscard]] result<> find_too_large(float scale) const;
  [[nodiscard]] result<> found_bad_row(std::string_view what) const;
  [[nodiscard]] gradient_rows rows() const { return {lookup_->gradients, lookup_->gradient_is_bf16}; }

  static constexpr std::string_view what_ = "step: the gradient of";
  run_state& run_;
  layout const& model_;
  lookup_table const& lookup_;
  backend const& where_;
  facts facts_;
  gradient_factor* factor_ = nullptr;
  double* norm_partials_ = nullptr;  // (tiles + groups) partial sums
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/inner/gradient_intake_definitions.hpp>
#endif

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/engine.hpp>
#include <diloco/sweep/copy.hpp>

// Members of DiLoCo about the caller's tensors: where they lie, what was written to them from outside, what
// can be read.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// θ ← what the caller's tensors show, where θ is a float32 copy and they were written to since. Enqueues. 6
/// B/param of bfloat16 tensors; nothing where there is no copy. `samples`: also of tensors that show samples
/// of θ and not θ.
DILOCO_ENGINE
void DILOCO_CLASS::adopt_shown(bool samples) {
  if (!has_copies_) return;
  shown_rows const from = shown({});
  if (samples || !steps_inside)
    recipe_.executor.for_each(index_.tile_count(), adopt_kernel{index_.tiles(), from, index_.theta()});
  else
    inner_.adopt(recipe_.executor, recipe_.inner, layout_, index_, from);
}

DILOCO_ENGINE
shown_rows DILOCO_CLASS::shown(draw const& by) const {
  if (!has_copies_) return {};
  return {index_.bf16(), index_.shown(), recipe_.bf16_rounding == rounding::stochastic, recipe_.seed, by};
}

DILOCO_ENGINE
DILOCO_COLD result<> DILOCO_CLASS::try_adopt() {
  if (auto fine = usable({}); !fine) return fine;
  if constexpr (inner_state<Inner>::has_samples) {
    if (!shows_mean_)
      return fail(cause::wrong_state,
                  "adopt: the tensors show samples; call show_mean() before they are loaded");
  } else {
    if (auto fine = shows_training_point("adopt"); !fine) return fine;
  }
  if (in_flight_)
    return fail(cause::wrong_state, say({"adopt: round ", rounds_, " is under way; land it first"}));
  return guard("adopt", [&]() -> result<> {
    adopt_shown(true);
    auto const finite = find_non_finite(theta_rows{index_.theta()}, "adopt: the parameter");
    std::vector<contract_term> terms;
    auto const term = [&](std::string const& label, std::string value) {
      terms.push_back({label, {{label, std::move(value)}}});
    };
    term("question whether all tensors are finite", finite ? "finite tensors" : finite.error().message);
    for (layout::row const& r : layout_.rows())
      term(say({"values of '", r.name, "'"}),
           say({"values with the digest ", digest_of_tensor(recipe_.executor, r)}));
    auto const limit = deadline_after(recipe_.deadline_seconds);
    if (auto fine = agree(recipe_.transport, recipe_.executor, terms, detail::adopt_phase, limit); !fine) {
      // Ranks that all came may try again. After a missed or mixed-up exchange the transport cannot go on.
      if (fine.error().message.starts_with("diloco: contract: ")) return fine;
      return broken_by(std::move(fine).error());
    }
    if (!finite) return finite;
    recipe_.executor.for_each(index_.tile_count(),
                              copy_to_anchor_kernel{index_.tiles(), index_.theta(), anchor_});
    show_new_sample();
    recipe_.executor.wait();
    unskipped_ = must_move_ = false;
    return {};
  });
}

DILOCO_ENGINE
template <class Parameters>
DILOCO_COLD result<> DILOCO_CLASS::try_rebind(Parameters const& parameters) {
  if (auto fine = usable({}); !fine) return fine;
  if (auto fine = shows_training_point("rebind"); !fine) return fine;
  return guard("rebind", [&]() -> result<> {
    recipe_.executor.wait();  // what was enqueued still reads the old addresses
    if (auto complaint = layout_.rebind(parameters); !complaint.empty())
      return fail(cause::bad_layout, "rebind: " + complaint);
    index_.upload_tensors(recipe_.executor, layout_);
    recipe_.executor.wait();
    return {};
  });
}

DILOCO_ENGINE
DILOCO_COLD result<std::span<float const>> DILOCO_CLASS::try_cell(std::string_view row,
                                                                  std::string_view column) const {
  using cell = std::span<float const>;
  layout::row const* const r = layout_.find(row);
  if (r == nullptr) return fail(cause::bad_setting, say({"cell: there is no tensor '", row, "'"}));
  if constexpr (inner_state<Inner>::has_views) {
    if (column == "theta" && shows_mean_ && !inner_.kept(*r).empty()) return inner_.kept(*r);
  }
  if (column == "theta" && r->data != nullptr) return cell{r->data, r->size};
  std::string names = r->data == nullptr ? "" : "theta";
  if (!r->frozen) {
    if (column.starts_with("inner.")) {
      if (cell const found = inner_.cell(*r, column.substr(6)); !found.empty()) return found;
    }
    for (std::string_view name : table_.names()) {
      std::span<float> const whole = table_[name];
      if (whole.size() != layout_.column_elements() || name.starts_with("inner.") || name == "theta")
        continue;
      if (name == column) return cell{whole.subspan(r->column, r->size)};
      names += say({names.empty() ? "" : ", ", name});
    }
    for (std::string_view slot : inner_.slot_names(*r)) names += say({", inner.", slot});
  }
  return fail(cause::bad_setting, say({"cell: '", row, "' has no column '", column, "' of floats; it has ",
                                       names.empty() ? "none: it is frozen and bfloat16" : names}));
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

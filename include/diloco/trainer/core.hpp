// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/inner/gradient_intake.hpp>
#include <diloco/round/rounds.hpp>
#include <diloco/sweep/on_backend.hpp>
#include <diloco/wire/contract.hpp>

#include <optional>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The settings that must be equal on all ranks.
struct contract_settings {
  listed_policies policies;
  std::string_view legs;  ///< name of the pattern
  std::string_view inner_at_sync, bf16_rounding;
  std::uint32_t float_modes;
  float clip_norm;
  std::uint32_t seed;
  std::uint64_t max_skipped_steps;
};

/// The half of a trainer that knows the policies.
class trainer_policies : public round_policies {
 public:
  using round_policies::tell;
  virtual void tell(inner_stepped const& e) = 0;
  [[nodiscard]] virtual action_list after(std::uint64_t steps) const = 0;
  [[nodiscard]] virtual float rate_factor(std::uint64_t step) const = 0;
  [[nodiscard]] virtual contract_settings settings() const = 0;
  /// One row of an inner slot; empty where the row has none of that name.
  [[nodiscard]] virtual std::span<float const> inner_cell(layout::row const& r,
                                                          std::string_view slot) const = 0;
  [[nodiscard]] virtual std::vector<std::string_view> inner_slots(layout::row const& r) const = 0;
  /// θ of a row while the caller's tensor holds the mean to evaluate; otherwise empty.
  [[nodiscard]] virtual std::span<float const> hidden_theta(layout::row const& r) const = 0;
  /// Writes the training point into the caller's tensors if `samples`, else the mean to evaluate. Enqueues.
  virtual void show(bool samples) = 0;
  /// Per row, whether its tensor optimizer has stepped; empty if there is none.
  [[nodiscard]] virtual std::span<char> tensor_steps() = 0;
  /// First row whose θ exceeds its limit, in executor memory. Empty unless the signal is made of gradients.
  [[nodiscard]] virtual std::span<std::uint32_t> row_beyond_limit() = 0;
  /// Copies the caller's tensors into θ where θ is a float32 copy, also tensors that hold samples.
  /// Enqueues.
  virtual void adopt_everything() = 0;
};

inline constexpr std::size_t contract_term_count = 12;

/// A trainer without its policies: counts steps, asks the schedule, and connects gradients, rounds and state.
class trainer_core {
 public:
  struct facts {
    std::string_view rate, outer;  // names
    bool steps_inside = true;
    bool has_samples = false;          ///< the caller's tensors show samples of θ
    bool wants_constant_rate = false;  ///< the outer optimizer divides by the inner rate
    bool sends_gradients = false;      ///< each step is a round, and there is no anchor
    std::uint64_t max_skipped_steps = 0;
    double deadline_seconds = 0;
  };
  trainer_core(backend const& where, transport_link const& over, trainer_policies& policies, layout l,
               facts const& f)
      : run(over.rank(), l.fragments().size()),
        model(std::move(l)),
        where_(where),
        over_(over),
        policies_(policies),
        facts_(f) {}
  ~trainer_core();

  /// Refuses a step that cannot be taken now, before anything is changed.
  [[nodiscard]] result<> room_for_a_step(step_options const& o);
  [[nodiscard]] result<> room_for_an_inner_step(step_options const& o);
  template <class Gradients>
  [[nodiscard]] result<> accept(Gradients const& gradients, step_options const& o) {
    if (auto fine = room_for_an_inner_step(o); !fine) return fine;
    return intake->accept(gradients, o);
  }
  enum class kind { taken, outside, skipped };
  /// Counts a step, and does what the schedule says after it.
  [[nodiscard]] step_result count_step(double tokens, kind what);
  [[nodiscard]] step_result count_outside_step(double tokens);
  [[nodiscard]] step_result skip(double tokens, std::string_view why);

  /// Compares settings, shapes and initial values with the other ranks. Collective.
  [[nodiscard]] result<> join();
  /// Error if a tensor is not finite, or beyond what the optimizer that steps θ bears. Waits.
  [[nodiscard]] result<> check_theta(std::string_view what) const;
  /// θ and anchor take the values of the caller's tensors. Error if they differ between ranks or are not
  /// finite. Collective; waits.
  [[nodiscard]] result<> adopt();
  template <class Parameters>
  DILOCO_COLD [[nodiscard]] result<> rebind(Parameters const& parameters) {
    if (auto fine = rounds->usable(); !fine) return fine;
    if (auto fine = run.shows_training_point("rebind"); !fine) return fine;
    return run.guard("rebind", [&]() -> result<> {
      where_.wait();  // kernels that were enqueued still read the old addresses
      if (auto invalid = model.rebind(parameters); !invalid.empty())
        return run.fail(cause::bad_layout, "rebind: " + invalid);
      lookup->upload_tensors(where_, model);
      where_.wait();
      return {};
    });
  }
  /// Floats of one tensor in one column, for example `theta` or `inner.m`.
  [[nodiscard]] result<std::span<float const>> cell(std::string_view row, std::string_view column) const;
  [[nodiscard]] std::uint64_t digest() const {
    return anchor == nullptr ? digest_of_theta() : digest_of_column(where_, anchor, model.column_elements());
  }
  void show_new_sample() {
    ++run.samples;
    policies_.show(true);
  }

  /// Calls a probe. Stores its first exception until `told`, because the reported event has already happened.
  template <class Probe, class Event>
  void call(Probe& probe, Event const& event) {
#if DILOCO_EXCEPTIONS
    try {
      probe(event);
    } catch (...) {
      if (!probe_threw_) probe_threw_ = std::current_exception();
    }
#else
    probe(event);
#endif
  }
  /// Called at the end of each public call. Rethrows the stored exception of a probe. If `r` is an error,
  /// appends its text instead.
  [[nodiscard]] result<> told(result<> r);
  [[nodiscard]] step_result told(step_result r);

  /// Allocates the lookup table and the list of columns. `combined`: as in lookup_table.
  void open_state(std::size_t fragments, std::vector<tile> const& combined);
  /// Uploads tensor addresses, then creates `intake` and `rounds`.
  void open_rounds(gradient_intake::facts const& inner, round_facts const& round,
                   std::vector<std::shared_ptr<round_flight>> flights, std::shared_ptr<round_flight> next);

  run_state run;
  layout model;
  float* anchor = nullptr;
  std::optional<lookup_table> lookup;
  std::optional<state_columns> state;
  std::optional<gradient_intake> intake;
  std::optional<round_machine> rounds;
  /// Numbers of earlier runs whose snapshots were in the folder that this run resumed from.
  std::vector<std::uint64_t> earlier_runs;
  /// It resumed from the newest snapshot that all ranks have, so later ones are leftovers.
  bool resumed_newest = false;

 private:
  friend class snapshots;
  [[nodiscard]] result<> compare_with_peers() const;
  [[nodiscard]] std::uint64_t digest_of_theta() const;
  /// What must be equal on all ranks and does not depend on how many tensors there are: contract_term_count.
  [[nodiscard]] std::vector<contract_term> contract_terms() const;
  /// `agree` on how a call went on each rank. A transport's error ends the run; a difference does not.
  [[nodiscard]] result<> agree_on_outcome(std::vector<contract_term> const& terms, std::uint32_t phase);

  backend const& where_;
  transport_link const& over_;
  trainer_policies& policies_;
  facts facts_;
#if DILOCO_EXCEPTIONS
  std::exception_ptr probe_threw_;
#endif
};

namespace detail {

/// How a trainer is built, with the types of recipe and parameters erased.
struct construction {
  void* recipe;
  void const* parameters;
  result<std::unique_ptr<trainer_policies>> (*build)(void* recipe, void const* parameters);
  void (*tell_peers)(void* recipe, std::string_view sentence) noexcept;
};

/// Calls `build`. Tells the peers why it failed, also where it throws.
result<std::unique_ptr<trainer_policies>> construct(construction const& how);

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/trainer/core_definitions.hpp>
#endif

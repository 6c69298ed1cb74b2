// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/engine.hpp>
#include <diloco/sweep/copy.hpp>

// Members of DiLoCo that run once: memory, checks, the contract with the peers, and what it says of itself.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_ENGINE
DILOCO_CLASS::DiLoCo(recipe_type r, layout l, int)
    : recipe_(std::move(r)),
      end_(recipe_.executor),
      layout_(std::move(l)),
      pattern_(recipe_.exchange.pick(recipe_.transport.size())),
      plan_(wire_plan::of<Compressor>(layout_, pattern_ == pattern::scatter_gather ? recipe_.transport.size() : 1,
                                      carried_by(recipe_))),
      index_(recipe_.executor, layout_, plan_, voices()),
      wires_(round_wires::allocate<Transport>(recipe_.executor, plan_, pairs_ranks ? voices() - 1 : voices(),
                                              pattern_ == pattern::scatter_gather)),
      wire_bytes_(wires_.bytes()) {
  std::size_t const n = layout_.column_elements();
  anchor_ = column("anchor", n);
  has_copies_ = layout_.copied_elements() != 0;
  layout_.place_copies(column("theta", layout_.copied_elements()));
  bool const owns = pattern_ == pattern::scatter_gather;
  std::size_t const own = owns ? plan_[recipe_.transport.rank()].elements : 0;
  auto const residual = [&](auto& which, std::string const& name, std::size_t elements) {
    std::size_t const floats = std::remove_cvref_t<decltype(which)>::floats(elements);
    which = {column(name, floats), column(name + ".next", floats), elements};
  };
  if constexpr (has_residual) {
    static_assert(!mean_residual<Feedback> || residual_bits<Feedback> == 32,
                  "diloco: feedback: a mean residual is kept in 32 bits");
    residual(residual_, "residual", n);
    if constexpr (keeps_common<Feedback>) common_ = column("common", n);
  }
  if constexpr (owner_has_residual) {
    if (owns) residual(owner_residual_, "owner_residual", own);
  }
  if constexpr (is_staged) allocate_stages(own);
  for (std::size_t s = 0; s != outer_slots; ++s) outer_state_[s] = column("outer." + std::string(Outer::slots[s]), n);
  inner_.allocate(recipe_.executor, table_, layout_, recipe_.inner);
  if constexpr (weighs_elements) {
    static_assert(
        inner_state<Inner>::has_slot(Combine::weighs_by),
        "diloco: combine: weighs elements by a slot that the inner optimizer has not; precision_weighted wants "
        "ivon's h");
    mean_weight_ = column("mean_weight", n);
  }
  if constexpr (carries_anchor) mean_anchor_ = column("mean_anchor", n);
  list_carried();
  index_.upload(recipe_.executor, layout_);
  allocate_factor();
}

/// Workbench, scratch, constants and memory of a staged compressor; `own` elements are those of the own shard.
DILOCO_ENGINE
void DILOCO_CLASS::allocate_stages(std::size_t own) {
  if (!residual_is_workbench || !owner_is_workbench)
    workbench_ = column("workbench", residual_is_workbench ? own : layout_.column_elements());
  scratch_ = reinterpret_cast<std::byte*>(column("scratch", plan_.scratch_bytes() / sizeof(float)));
  if constexpr (constexpr std::size_t c = constant_elements_of<Compressor>; c != 0) {
    constants_ = mirrored(recipe_.executor, c * sizeof(float));
    Compressor::write_constants(reinterpret_cast<float*>(constants_.host()));
    constants_.upload(recipe_.executor, 0, c * sizeof(float));
  }
  std::size_t const m = plan_.memory_elements();
  memory_ = {column("memory", m), column("memory.next", m)};
  if (pattern_ == pattern::scatter_gather && !agrees) {
    auto const& shard = plan_[recipe_.transport.rank()];
    owner_memory_ = {column("owner_memory", shard.memory_elements), column("owner_memory.next", shard.memory_elements),
                     shard.first_memory};
  }
}

/// What the inner sweep multiplies gradients with, where that is no argument.
DILOCO_ENGINE
void DILOCO_CLASS::allocate_factor() {
  if (inner_state<Inner>::has_tensor_steps || clips())
    factor_ = reinterpret_cast<gradient_factor*>(column("gradient_factor", sizeof(gradient_factor) / sizeof(float)));
  if (clips()) {
    std::size_t const doubles = index_.tile_count() + sum_partials_kernel::groups(index_.tile_count());
    norm_partials_ = reinterpret_cast<double*>(column("norm_partials", doubles * sizeof(double) / sizeof(float)));
  }
}

DILOCO_ENGINE
std::string DILOCO_CLASS::settings_complaint(recipe_type const& r) {
  std::string complaint;
  auto const check = [&](std::string_view role, auto const& policy) {
    if (complaint.empty()) complaint = field_complaint(role, policy);
  };
  check("inner", r.inner);
  check("outer", r.outer);
  check("compressor", r.compressor);
  check("feedback", r.feedback);
  check("combine", r.combine);
  check("schedule", r.schedule);
  check("rate", r.rate);
  if (complaint.empty()) complaint = plain_complaint(r);
  if (complaint.empty() && !(r.deadline_seconds > 0 && r.deadline_seconds < 1e9)) {
    complaint = say({"diloco: deadline_seconds = ", r.deadline_seconds, " must be in (0, 1e9)"});
  }
  if (complaint.empty() && (r.exchange.pick(r.transport.size()) == pattern::pairs) != pairs_ranks) {
    complaint = say({"diloco: exchange ", Exchange::name,
                     ": picks pairs if and only if it has int partner(round, rank, ranks) const"});
  }
  return complaint;
}

/// Of the recipe's plain numbers, and of settings that would do nothing.
DILOCO_ENGINE
std::string DILOCO_CLASS::plain_complaint(recipe_type const& r) {
  using state = inner_state<Inner>;
  if (!positive.holds(static_cast<double>(r.clip_norm)))
    return say({"diloco: clip_norm = ", r.clip_norm, " ", range_text(positive)});
  if (!steps_inside && r.clip_norm < no_clipping)
    return "diloco: clip_norm: the framework steps by itself and must clip by itself; say no_clipping";
  if (r.inner_at_sync != at_sync::keep && r.inner_at_sync != at_sync::reset && r.inner_at_sync != at_sync::average)
    return say({"diloco: inner_at_sync = ", static_cast<int>(r.inner_at_sync), " is none of keep, reset and average"});
  if (r.inner_at_sync != at_sync::keep && state::planes == 0 && !state::has_memory)
    return say({"diloco: inner_at_sync: ", Inner::name, " keeps no state here; say at_sync::keep"});
  if (r.inner_at_sync == at_sync::average && state::has_memory)
    return say({"diloco: inner_at_sync: ", Inner::name,
                " keeps state of whole tensors, which has no mean; say at_sync::keep or at_sync::reset"});
  if constexpr (weighs_elements) {
    std::string found;
    for_each_group(r.inner, [&](auto const& o, auto) {
      if constexpr (requires { o.prior(); }) {
        if (found.empty() && !(std::fabs(o.prior() - r.combine.prior) <= 1e-5f * o.prior()))
          found = say({"diloco: combine: ", Combine::name, ": prior = ", r.combine.prior, " must be the ", o.prior(),
                       " that ", o.name, " adds to ", Combine::weighs_by});
      }
    });
    if (!found.empty()) return found;
  }
  if (!steps_inside && r.bf16_rounding == rounding::stochastic)
    return "diloco: bf16_rounding: the framework writes the tensors by itself; say rounding::nearest";
  return {};
}

DILOCO_ENGINE
result<> DILOCO_CLASS::start() {
  adopt_shown();
  if constexpr (DILOCO_CHECKS >= DILOCO_CHECKS_LIGHT) {
    if (auto fine = find_non_finite(theta_rows{index_.theta()}, "the parameter"); !fine) return fine;
  }
  recipe_.executor.for_each(index_.tile_count(), copy_to_anchor_kernel{index_.tiles(), index_.theta(), anchor_});
  if constexpr (agrees)
    recipe_.executor.for_each(plan_.slices().size(), agree_kernel<Compressor>{received(0, false), memory_.now});
  recipe_.executor.wait();
  if (auto fine = compare_with_peers(); !fine) return fine;
  show_new_sample();  // last: a trainer that is refused leaves the caller's tensors as they were
  recipe_.executor.wait();
  return {};
}

DILOCO_ENGINE
void DILOCO_CLASS::adopt_shown() {
  if (has_copies_)
    recipe_.executor.for_each(index_.tile_count(), adopt_kernel{index_.tiles(), shown({}), index_.theta()});
}

DILOCO_ENGINE
result<> DILOCO_CLASS::compare_with_peers() {
  std::vector<contract_term> terms;
  auto const term = [&](std::string role, auto const& policy) {
    std::string const numbers = field_text(policy);
    terms.push_back({std::move(role), fingerprint(policy), say({policy.name, numbers.empty() ? "" : " ", numbers})});
  };
  terms.push_back({"library version", DILOCO_VERSION, say({DILOCO_VERSION})});
  term("inner optimizer", recipe_.inner);
  term("outer optimizer", recipe_.outer);
  term("compressor", recipe_.compressor);
  term("feedback", recipe_.feedback);
  term("combine rule", recipe_.combine);
  term("exchange", recipe_.exchange);
  term("schedule", recipe_.schedule);
  term("learning rate", recipe_.rate);
  auto const at_sync = static_cast<std::uint64_t>(recipe_.inner_at_sync);
  auto const rounds = static_cast<std::uint64_t>(recipe_.bf16_rounding);
  terms.push_back({"clip_norm, inner_at_sync, bf16_rounding and seed",
                   mix64(mix64(bits_of(recipe_.clip_norm), at_sync), mix64(rounds, recipe_.seed)),
                   say({"clip_norm ", recipe_.clip_norm, ", inner_at_sync ", at_sync, ", bf16_rounding ", rounds,
                        ", seed ", recipe_.seed})});
  std::size_t const rows = layout_.rows().size();
  terms.push_back({"tensors", mix64(rows, layout_.parameters()),
                   say({rows, " tensors of ", layout_.parameters(), " elements in all"})});
  auto const limit = deadline_after(recipe_.deadline_seconds);
  if (auto fine = agree(recipe_.transport, recipe_.executor, terms, 10, limit); !fine) return fine;

  // As many tensors everywhere: now each can be named.
  terms.clear();
  for (std::size_t r = 0; r < rows; ++r) {
    terms.push_back({say({"name, shape or group of tensor ", r}), layout_.fingerprint(r), layout_.text(r)});
  }
  for (layout::row const& r : layout_.rows()) {
    std::uint64_t const digest = digest_of_start(r);
    terms.push_back({say({"initial values of '", r.name, "'"}), digest, say({"values with the digest ", digest})});
  }
  return agree(recipe_.transport, recipe_.executor, terms, 11, limit);
}

/// On the device where the host cannot read the columns: one byte in 64 comes to the host.
DILOCO_ENGINE
std::uint64_t DILOCO_CLASS::digest_of_column(float const* from, std::size_t n) const {
  if constexpr (Executor::columns_on_host) {
    return digest_of(from, n);
  } else {
    std::size_t const parts = digest_kernel::parts(n);
    buffer const chains = recipe_.executor.allocate_wire(parts * digest_kernel::chains * sizeof(std::uint64_t));
    recipe_.executor.for_each(parts, digest_kernel{from, n, chains.template as<std::uint64_t>()});
    recipe_.executor.wait();
    hash64 h;
    h.add(static_cast<std::uint64_t>(n));
    add_chains(h, chains.template as<std::uint64_t>(), parts);
    return h.value();
  }
}

/// Of a tensor as the caller gave it.
DILOCO_ENGINE
std::uint64_t DILOCO_CLASS::digest_of_start(layout::row const& r) const {
  if (r.data != nullptr) return digest_of_column(r.data, r.size);
  std::size_t const bytes = r.size * sizeof(bfloat16);  // frozen bfloat16
  buffer const staging = recipe_.executor.allocate_wire(bytes);
  if constexpr (Executor::columns_on_host) {
    std::memcpy(staging.data(), r.bf16, bytes);
  } else {
    recipe_.executor.copy_to_host(staging.data(), r.bf16, bytes);
    recipe_.executor.wait();
  }
  hash64 h;
  for (std::size_t i = 0; i < r.size; ++i) h.add(std::uint64_t{staging.template as<bfloat16>()[i].bits});
  return h.value();
}

/// What travels beside the pseudo-gradient: slots to be averaged in place, then the anchor, and last of all what a rule weighs
/// elements by.
DILOCO_ENGINE
void DILOCO_CLASS::list_carried() {
  std::size_t const planes = plan_.carried();
  if (planes == 0) return;
  bool const averages = recipe_.inner_at_sync == at_sync::average;
  index_view const& index = index_.host();
  for (float** table : {index.carried_from(), index.carried_to()}) {
    if (averages) inner_.list(layout_, table, planes);
  }
  if constexpr (carries_anchor) {
    std::size_t const plane = planes - (weighs_elements ? 2 : 1);
    for (std::size_t r = 0; r < layout_.rows().size(); ++r) {
      if (layout_.rows()[r].frozen) continue;
      index.carried_from()[r * planes + plane] = anchor_ + layout_.rows()[r].column;
      index.carried_to()[r * planes + plane] = mean_anchor_ + layout_.rows()[r].column;
    }
  }
  if constexpr (weighs_elements) {
    std::size_t const last = planes - 1;
    inner_.list(layout_, Combine::weighs_by, index.carried_from() + last, planes);
    for (std::size_t r = 0; r < layout_.rows().size(); ++r) {
      float* const* const from = index.carried_from() + r * planes + last;
      index.carried_to()[r * planes + last] = *from == nullptr ? nullptr : mean_weight_ + layout_.rows()[r].column;
    }
  }
}

DILOCO_ENGINE
element_weights DILOCO_CLASS::weights() const {
  if constexpr (weighs_elements)
    return {index_.carried_from() + plan_.carried() - 1, plan_.carried(), recipe_.combine.prior};
  else
    return {};
}

DILOCO_ENGINE
std::span<float const> DILOCO_CLASS::cell(std::string_view row, std::string_view column) const {
  for (layout::row const& r : layout_.rows()) {
    if (r.name != row) continue;
    if (column == "theta") return {r.data, r.data == nullptr ? 0 : r.size};
    if (r.frozen) return {};
    if (column.starts_with("inner.")) return inner_.cell(r, column.substr(6));
    auto const whole = table_[column];
    if (whole.size() != layout_.column_elements()) return {};
    return whole.subspan(r.column, r.size);
  }
  return {};
}

DILOCO_ENGINE
std::string DILOCO_CLASS::describe() const {
  int const k = recipe_.transport.size();
  double const wires = pattern_ == pattern::scatter_gather ? 1 : voices();
  double round = encode_bytes<Compressor, Feedback> + apply_outer_bytes<Compressor, Outer, Feedback>(wires);
  if (pattern_ == pattern::scatter_gather) round += combine_bytes<Compressor, Feedback>(k);
  // What is shown of a copy, and under an external optimizer read back.
  round += (steps_inside ? 2.0 : 8.0) * static_cast<double>(layout_.copied_elements()) /
           static_cast<double>(layout_.parameters());
  // Slots that travel: written and read at either end, and once more by their owner.
  round += 4.0 * static_cast<double>(plan_.carried()) *
           (3 + wires + (pattern_ == pattern::scatter_gather ? 1 + 1.0 / k : 0));
  if constexpr (is_staged) {  // what is sent once for a tensor is in no constant of the type
    double const more = static_cast<double>(plan_.payload_bytes()) / static_cast<double>(layout_.parameters()) -
                        wire_bytes_per_parameter<Compressor>;
    double const heard = agrees ? 2 * wires : wires;  // once for the sum, once for the next memory
    round += more * (1 + heard + (pattern_ == pattern::scatter_gather ? 1 + 1.0 / k : 0.0));
  }
  double const bits = is_staged
                          ? 8.0 * static_cast<double>(plan_.payload_bytes()) / static_cast<double>(layout_.parameters())
                          : wire_bits<Compressor>;
  std::string const small = Compressor::smallest > 1e-20f
                                ? say({" · below ", three_digits(double{Compressor::smallest}), " lost in part",
                                       has_residual ? " and kept in the residual" : ""})
                                : std::string{};
  std::string const feedback = has_residual ? say({" + ", Feedback::name}) : std::string{};
  return say({Inner::name,
              " → ",
              Outer::name,
              " · ",
              Compressor::name,
              " (",
              three_digits(bits),
              " bit)",
              feedback,
              small,
              recipe_.inner_at_sync == at_sync::average ? " + inner state (32 bit each)" : "",
              carries_anchor ? " + anchor (32 bit)" : "",
              weighs_elements ? " + weights (32 bit)" : "",
              " · ",
              name_of(pattern_),
              " over ",
              Transport::name,
              "×",
              k,
              " · ",
              recipe_.schedule.describe(),
              std::is_same_v<Rate, constant_rate> ? std::string{} : say({" · ", Rate::name}),
              clips() ? say({" · clipped at ", recipe_.clip_norm}) : std::string{},
              recipe_.inner_at_sync == at_sync::reset ? " · inner state reset" : "",
              " · state ",
              three_digits(footprint().state_bytes_per_parameter()),
              " B/param · round ",
              three_digits(round),
              " B/param"});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/trainer.hpp>
#include <diloco/transport/alone.hpp>

#include <string>

/// The minimal implementation of each role, with one part left out on request. `archetype::compressor<>`
/// works. `archetype::compressor<without::decode>` is the same type without `decode` and otherwise unchanged.
namespace archetype {

enum class without {
  nothing,
  name,
  copy,
  slots,
  at,
  matching_step,
  trivial_step,
  promise,  // optimizer
  block,
  largest,
  smallest,
  side_bytes,
  code_bytes,
  encode,
  decode,
  slice_bytes,  // compressor
  traits,
  owner,
  want,
  keep,  // feedback
  coefficients,
  fragments,
  cut,
  rounds_per_step,
  after,
  describe,
  legs,
  second,  // combine, schedule, exchange
  columns_on_host,
  allocate,
  allocate_wire,
  for_each,
  wait,  // executor
  in_place,
  rank,
  size,
  all_gather,
  all_to_all,
  exchange,
  one_pending,
  move_only_pending,  // transport
  roster,
  wire,
  done,
  reclaim,  // arrival
};

/// A base class that may be absent.
template <without Part>
struct hole {};
template <without Missing, without Part, class Has>
using part = std::conditional_t<Missing == Part, hole<Part>, Has>;

struct has_name {
  static constexpr std::string_view name = "archetype";
};
struct has_schedule_traits {
  static constexpr diloco::schedule_traits traits{};
};
struct has_cut {
  static constexpr diloco::fragment_cut cut{};
};
struct has_second {
  static constexpr diloco::same_compressor second{};
};
struct has_slots {
  static constexpr std::array<std::string_view, 1> slots{"sum"};
};
struct has_block {
  static constexpr int block = 64;
};
struct has_compressor_traits {
  static constexpr diloco::compressor_traits traits{.lossless = true};
};
struct has_largest {
  static constexpr float largest = 3.4028235e38f;
};
/// Declares the largest magnitude of an outer optimizer. Here the state is a sum of floats, which stops
/// growing at 2²⁵ times the largest of them.
struct says_largest {
  [[nodiscard]] constexpr float largest() const { return 0x1p100f; }
};
struct has_smallest {
  static constexpr float smallest = 0x1p-149f;
};
struct has_side_bytes {
  static constexpr std::size_t side_bytes = 0;
};
struct has_code_bytes {
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return 4 * n; }
};
struct has_feedback_traits {
  static constexpr diloco::feedback_traits traits{};
};
struct has_columns_on_host {
  static constexpr bool columns_on_host = true;
};
struct has_executor_traits {
  static constexpr diloco::executor_traits traits{};
};
struct has_in_place {
  static constexpr bool receives_in_place = true;
};
struct has_transport_traits {
  static constexpr diloco::transport_traits traits{};
};

/// Copyable, or only movable.
struct move_only {
  move_only() = default;
  move_only(move_only&&) = default;
  move_only& operator=(move_only&&) = default;
};

struct step {
  DILOCO_HD void operator()(float& p, float g, float& sum) const {
    sum += g;
    p -= sum;
  }
};
struct step_without_slot {
  DILOCO_HD void operator()(float& p, float g) const { p -= g; }
};
struct step_that_allocates : step {
  std::string text;
};

template <without Missing = without::nothing>
struct optimizer : part<Missing, without::name, has_name>,
                   part<Missing, without::slots, has_slots>,
                   part<Missing, without::largest, says_largest>,
                   std::conditional_t<Missing == without::copy, move_only, hole<without::copy>> {
  static constexpr diloco::optimizer_traits traits{.replicated = Missing != without::promise};
  auto at(diloco::step_context) const requires(Missing != without::at) {
    if constexpr (Missing == without::matching_step)
      return step_without_slot{};
    else if constexpr (Missing == without::trivial_step)
      return step_that_allocates{};
    else
      return step{};
  }
};

struct anchored_step {
  DILOCO_HD void operator()(float& p, float g, float mean_anchor, float& sum) const {
    sum += g;
    p = mean_anchor - sum;
  }
};
/// An outer optimizer that needs the mean anchor.
template <without Missing = without::nothing>
struct anchored : has_name,
                  part<Missing, without::slots, has_slots>,
                  part<Missing, without::largest, says_largest> {
  static constexpr diloco::optimizer_traits traits{.replicated = true, .wants_mean_anchor = true};
  auto at(diloco::step_context) const requires(Missing != without::at) {
    if constexpr (Missing == without::matching_step)
      return step{};
    else
      return anchored_step{};
  }
};

template <without Missing = without::nothing>
struct compressor : part<Missing, without::name, has_name>,
                    part<Missing, without::block, has_block>,
                    part<Missing, without::traits, has_compressor_traits>,
                    part<Missing, without::largest, has_largest>,
                    part<Missing, without::smallest, has_smallest>,
                    part<Missing, without::side_bytes, has_side_bytes>,
                    part<Missing, without::code_bytes, has_code_bytes> {
  template <diloco::lanes L>
  DILOCO_HD void encode(L l, diloco::lane_block<L, 64> const& x, diloco::block_info info,
                        diloco::wire_block out) const requires(Missing != without::encode) {
    float* code = reinterpret_cast<float*>(out.code) + diloco::first_element<L, 64>(l);
    int const mine = diloco::owned_elements<L, 64>(l, info.count);
    for (int i = 0; i < mine; ++i) code[i] = x.v[i];
  }
  template <diloco::lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, diloco::wire_block_view in, Sink&& sink) const
      requires(Missing != without::decode) {
    float const* code = reinterpret_cast<float const*>(in.code) + diloco::first_element<L, 64>(l);
    int const mine = diloco::owned_elements<L, 64>(l, count);
    for (int i = 0; i < mine; ++i) sink(i, code[i]);
  }
};

/// Sends every element unchanged, in chunks.
template <without Missing = without::nothing>
struct staged : part<Missing, without::name, has_name>,
                part<Missing, without::block, has_block>,
                part<Missing, without::traits, has_compressor_traits>,
                part<Missing, without::largest, has_largest>,
                part<Missing, without::smallest, has_smallest>,
                part<Missing, without::code_bytes, has_code_bytes> {
  static constexpr std::array stages{diloco::stage::fused};
  static constexpr std::size_t slice_bytes(std::size_t,
                                           std::size_t) requires(Missing != without::slice_bytes) {
    return 0;
  }
  template <int, diloco::lanes L>
  DILOCO_HD void encode(L, diloco::slice const& s, std::size_t j) const requires(Missing != without::encode) {
    auto* const out = reinterpret_cast<float*>(s.code(j));
    for (int i = L::rank(); i < s.count(j); i += L::width) out[i] = s.chunk_x(j)[i];
  }
  template <diloco::lanes L>
  DILOCO_HD void decode(L, diloco::slice_view const& s, std::size_t j, float c, float* g) const
      requires(Missing != without::decode) {
    auto const* const in = reinterpret_cast<float const*>(s.code(j));
    for (int i = L::rank(); i < s.count(j); i += L::width) g[i] = diloco::fma(c, in[i], g[i]);
  }
};

template <without Missing = without::nothing>
struct feedback : part<Missing, without::name, has_name>,
                  part<Missing, without::traits, has_feedback_traits> {
  feedback at(std::uint64_t) const requires(Missing != without::at) { return *this; }
  feedback owner() const requires(Missing != without::owner) { return *this; }
  DILOCO_HD float want(float delta, float residual) const requires(Missing != without::want) {
    return delta + residual;
  }
  DILOCO_HD float keep(float wanted, float sent, float) const requires(Missing != without::keep) {
    return wanted - sent;
  }
};

template <without Missing = without::nothing>
struct combine : part<Missing, without::name, has_name> {
  static constexpr diloco::combine_traits traits{};
  bool coefficients(std::span<double const> weights, std::span<float> out) const
      requires(Missing != without::coefficients) {
    for (float& c : out) c = 1.0f / static_cast<float>(weights.size());
    return true;
  }
};

template <without Missing = without::nothing>
struct schedule : part<Missing, without::name, has_name>,
                  part<Missing, without::traits, has_schedule_traits>,
                  part<Missing, without::cut, has_cut> {
  int fragments() const requires(Missing != without::fragments) { return 1; }
  double rounds_per_step() const requires(Missing != without::rounds_per_step) { return 0; }
  diloco::action_list after(std::uint64_t) const requires(Missing != without::after) { return {}; }
  std::string describe() const requires(Missing != without::describe) { return "archetype"; }
};

template <without Missing = without::nothing>
struct exchange : part<Missing, without::name, has_name>, part<Missing, without::second, has_second> {
  static diloco::leg_list legs(int ranks) requires(Missing != without::legs) {
    return diloco::gather{}.legs(ranks);
  }
};

template <without Missing = without::nothing>
struct executor : part<Missing, without::name, has_name>,
                  part<Missing, without::columns_on_host, has_columns_on_host>,
                  part<Missing, without::traits, has_executor_traits> {
  diloco::buffer allocate(std::size_t n) const requires(Missing != without::allocate) {
    return diloco::cpp{}.allocate(n);
  }
  diloco::buffer allocate_wire(std::size_t n) const requires(Missing != without::allocate_wire) {
    return diloco::cpp{}.allocate(n);
  }
  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const requires(Missing != without::for_each) {
    for (std::size_t i = 0; i < n; ++i) kernel(diloco::solo{}, i);
  }
  void wait() const requires(Missing != without::wait) {}
};

template <without Missing = without::nothing>
struct arrival {
  diloco::wires memory;
  static constexpr int only_rank = 0;
  std::span<int const> roster() const requires(Missing != without::roster) { return {&only_rank, 1}; }
  std::span<std::byte const> message(int) const requires(Missing != without::wire) {
    return memory.send.bytes();
  }
  void done() requires(Missing != without::done) {}
  diloco::result<diloco::wires> reclaim(diloco::deadline) && requires(Missing != without::reclaim) {
    return std::move(memory);
  }
};

template <without Missing = without::nothing>
struct pending {
  using memory_type = std::conditional_t<Missing == without::move_only_pending,
                                         std::shared_ptr<diloco::wires>, diloco::wires>;
  memory_type memory;
  diloco::result<arrival<Missing>> wait(diloco::deadline) requires(Missing != without::wait) {
    if constexpr (Missing == without::move_only_pending)
      return arrival<Missing>{std::move(*memory)};
    else
      return arrival<Missing>{std::move(memory)};
  }
};

template <without Missing = without::nothing>
struct transport : part<Missing, without::name, has_name>,
                   part<Missing, without::in_place, has_in_place>,
                   part<Missing, without::traits, has_transport_traits> {
  int rank() const requires(Missing != without::rank) { return 0; }
  int size() const requires(Missing != without::size) { return 1; }
  pending<Missing> all_gather(diloco::wires w,
                              diloco::exchange_tag) requires(Missing != without::all_gather) {
    return post(std::move(w));
  }
  auto all_to_all(diloco::wires w, diloco::exchange_tag) requires(Missing != without::all_to_all) {
    if constexpr (Missing == without::one_pending)
      return pending<without::nothing>{std::move(w)};
    else
      return post(std::move(w));
  }
  pending<Missing> exchange(diloco::wires w, int,
                            diloco::exchange_tag) requires(Missing != without::exchange) {
    return post(std::move(w));
  }

 private:
  static pending<Missing> post(diloco::wires w) {
    if constexpr (Missing == without::move_only_pending)
      return {std::make_shared<diloco::wires>(std::move(w))};
    else
      return {std::move(w)};
  }
};

}  // namespace archetype

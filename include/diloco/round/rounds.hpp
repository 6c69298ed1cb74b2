// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/probe.hpp>
#include <diloco/concepts/schedule.hpp>
#include <diloco/round/flight.hpp>
#include <diloco/state/columns.hpp>
#include <diloco/state/lookup_table.hpp>
#include <diloco/state/run_state.hpp>
#include <diloco/sweep/backend.hpp>

#include <memory>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Calls of a round that depend on policies. Each is made at most twice per round.
class round_policies {
 public:
  virtual ~round_policies() = default;
  /// Pass A: encodes the fragment's contribution, (shards, slot_bytes). Enqueues.
  virtual void encode(round_flight const& f, std::byte* to) = 0;
  /// Encodes the combination of this rank's shard. Enqueues.
  virtual void encode_share(round_flight const& f, int contributors, std::byte* to) = 0;
  /// Pass B: contributors → outer step → θ. `sharded`: there is one message per shard, with coefficient 1.
  /// Enqueues.
  virtual void apply(round_flight const& f, int contributors, bool sharded, float mix) = 0;
  /// Updates the fragment's float32 copies of θ where the caller changed its tensors. Enqueues.
  virtual void adopt_callers_copy(round_flight const& f) = 0;
  /// State that no commit_rule covers: the inner optimizer's, and samples that tensors show. Enqueues.
  virtual void commit(round_flight const& f) = 0;
  /// Returns false if the weights give nothing to combine.
  virtual bool coefficients(std::span<double const> weights, std::span<float> out) const = 0;
  /// The rank that this rank meets in a round of pairs; otherwise itself.
  [[nodiscard]] virtual int partner(std::uint64_t round) const = 0;
  virtual void tell(round_launched const& e) = 0;
  virtual void tell(round_landed const& e) = 0;
  virtual void tell(round_aborted const& e) = 0;
};

/// What the recipe's type says about a round, as values.
struct round_facts {
  leg_list legs;
  std::string_view compressor, outer, combine, exchange;  // names
  float largest_sent = 0;       ///< largest magnitude that the compressor can encode
  magnitude_limits limits;      ///< of compressor and outer optimizer together
  bool counts_idle = false;     ///< with a shared estimate, every coefficient is 1 / world size
  std::string_view signal;      // in messages
  bool carries_anchor = false;  ///< as an auxiliary plane
  bool by_step_only = false;    ///< a round sends what the step before it was given
  double deadline_seconds = 0;
};

/// What a fragment knows between its rounds.
struct fragment_progress {
  std::uint64_t round = 0;    ///< number of the next one
  std::uint64_t history = 0;  ///< hash of senders and checksums of all committed rounds
  double weight = 0;          ///< tokens that no committed or open round has
  bool stepped = false;       ///< an inner step was taken since the last launch
  bool landed_early = false;  ///< of the schedule: `sync` landed its round, or its launch failed
  bool at_anchor = true;      ///< θ is the anchor: no step since it was set to it
  bool must_move = false;     ///< the next round must find that θ differs from the anchor

  /// θ was set to the anchor, over all steps.
  void is_at_anchor() {
    at_anchor = true;
    stepped = must_move = false;
  }
};

inline constexpr std::string_view by_schedule =
    " was launched by the schedule, which lands it; call sync() on all ranks to land it now";

/// Rounds of all fragments: launch, land, agree, commit. Owns the flights. What it refers to must outlive it.
class round_machine {
 public:
  struct surroundings {
    run_state& run;
    layout const& model;
    lookup_table const& lookup;
    state_columns& state;
    float* anchor;  ///< padded column
    backend const& where;
    transport_link const& over;
    round_policies& policies;
  };
  round_machine(surroundings const& p, round_facts const& facts,
                std::vector<std::shared_ptr<round_flight>> flights)
      : run_(p.run),
        model_(p.model),
        lookup_(p.lookup),
        state_(p.state),
        anchor_(p.anchor),
        where_(p.where),
        over_(p.over),
        policies_(p.policies),
        facts_(facts),
        flights_(std::move(flights)),
        fragments_(flights_.size()) {
    for (auto const& f : flights_) message_bytes_ += f->message_bytes();
  }

  /// Counts a step of `tokens` for every fragment. `outside`: the framework took it.
  void count_step(double tokens, bool taken, bool outside) {
    for (fragment_progress& p : fragments_) {
      p.weight += tokens;
      p.stepped = p.stepped || taken;
      p.at_anchor = p.at_anchor && !taken;
      // A framework may leave a part of the model alone, but not all of it.
      p.must_move = p.must_move || (outside && fragments_.size() == 1);
    }
  }
  /// Moves the messages of open rounds, where the transport does not by itself. Never waits.
  void progress();
  /// Error if an action of the schedule meets a flight that is still open.
  [[nodiscard]] result<> room_for(action_list const& actions) const;
  [[nodiscard]] result<> perform(action_list const& actions);
  [[nodiscard]] result<flight> launch_by_hand(int fragment);
  [[nodiscard]] result<> land_by_hand(flight&& f, land_options const& o);
  /// One round of each fragment, now.
  [[nodiscard]] result<> sync();
  /// Error if the run has ended, or a flight was destroyed before it landed.
  [[nodiscard]] result<> usable() const;
  /// Error if a flight is open.
  [[nodiscard]] result<> all_landed(std::string_view call) const;
  [[nodiscard]] bool any_open() const;
  /// Largest weight of this rank's next rounds.
  [[nodiscard]] double largest_weight() const;
  [[nodiscard]] result<> reset_feedback();
  /// For snapshots: what fragments know, the number of launches, and a flight whose message was loaded, which
  /// is sent again.
  [[nodiscard]] std::vector<fragment_progress>& fragments() { return fragments_; }
  [[nodiscard]] std::uint64_t& launches() { return launches_; }
  [[nodiscard]] result<> take_back(round_flight& f);
  [[nodiscard]] result<> send_again(round_flight& f) { return send(f, false); }
  void steps_are_known() {
    for (fragment_progress& p : fragments_) p.is_at_anchor();
  }
  void belongs_to(std::uint64_t run) { run_number_ = run; }
  [[nodiscard]] std::uint64_t run_number() const { return run_number_; }

  /// Bytes that this rank sends in one round of each fragment. If an odd number of ranks pairs, one rank
  /// sends nothing; this counts one peer.
  [[nodiscard]] std::size_t sent_bytes() const;
  /// The same for the fragment of which it sends most.
  [[nodiscard]] std::size_t largest_sent_bytes() const;
  [[nodiscard]] std::size_t message_bytes() const { return message_bytes_; }
  [[nodiscard]] std::size_t table_bytes() const;
  [[nodiscard]] round_facts const& facts() const { return facts_; }
  [[nodiscard]] std::vector<std::shared_ptr<round_flight>> const& flights() const { return flights_; }
  /// At the end of a run that failed: waits at most a second for peers to read that this rank gave up.
  void let_peers_read() noexcept;

 private:
  // launch.hpp
  [[nodiscard]] result<> launch(std::size_t fragment, bool by_hand);
  [[nodiscard]] result<> may_launch(std::size_t fragment) const;
  [[nodiscard]] result<> encode_and_send(std::size_t fragment, int partner, bool by_hand);
  [[nodiscard]] result<> send(round_flight& f, bool must_move);
  [[nodiscard]] message_header own_header(round_flight const& f, std::uint16_t phase,
                                          std::size_t payload) const;
  void write_headers(round_flight& f, std::byte* slots, std::size_t count, std::size_t slot_bytes,
                     bool must_move) const;
  void send_share(round_flight& f, std::size_t leg, std::uint32_t refused);
  [[nodiscard]] auxiliary_planes auxiliary(round_flight const& f, wire_plan const& plan,
                                           std::size_t first_tile) const;
  void average_auxiliary(round_flight const& f, int contributors, bool sharded, std::byte* to_slot,
                         float mix) const;
  // landing.hpp
  [[nodiscard]] round_flight* oldest_open() const;
  [[nodiscard]] result<> may_call(std::string_view call) const;
  [[nodiscard]] result<> may_land(round_flight const& f) const;
  /// As `land`; an exception ends the run and the flight.
  [[nodiscard]] result<> land_guarded(round_flight& f, float mix);
  /// All weights are 0 and this rank took no step: the round was dropped, and that is no error.
  [[nodiscard]] bool is_idle(round_flight const& f) const {
    return !run_.ended() && f.total_weight == 0 && !f.stepped;
  }
  [[nodiscard]] result<> check(action_list const& actions) const;
  [[nodiscard]] result<> perform(action const& a);
  [[nodiscard]] result<> land(round_flight& f, float mix);
  [[nodiscard]] result<> receive_leg(round_flight& f, std::size_t i, result<>& verdict, result<>& done);
  [[nodiscard]] result<> receive(round_flight& f, exchange_slot& m);
  void apply(round_flight& f, float mix);
  void commit(round_flight& f);
  [[nodiscard]] result<> end_of_round(result<> verdict, result<> done, round_flight& f);
  [[nodiscard]] result<> aborted(error e, round_flight& f);
  void send_refusals(round_flight& f, std::uint32_t refused, std::size_t next_leg);
  [[nodiscard]] result<> given_up(error e, round_flight& f, std::size_t next_leg);
  [[nodiscard]] result<> compare_anchors(std::size_t fragment);
  // agreement.hpp
  void collect_headers(round_flight& f, exchange_slot const& m, std::size_t slot_bytes) const;
  [[nodiscard]] result<> read_headers(round_flight& f, std::size_t leg);
  [[nodiscard]] result<> read_header(round_flight& f, std::size_t k, int from, std::size_t leg);
  [[nodiscard]] error unsendable(round_flight const& f, message_header const& got, int from,
                                 std::uint16_t phase) const;
  [[nodiscard]] result<> weigh(round_flight& f);
  [[nodiscard]] std::uint32_t refusal(error const& e) const;
  [[nodiscard]] std::uint32_t refusal(result<> const& verdict) const {
    return verdict ? 0 : refusal(verdict.error());
  }
  [[nodiscard]] result<> vote(result<>& verdict, round_flight& f);
  void send_vote(round_flight& f, std::uint32_t refused);
  [[nodiscard]] result<> count_votes(round_flight& f, bool knows);

  [[nodiscard]] error fail(round_flight const& f, cause why, std::string what) const {
    return {why, run_.rank(), static_cast<long>(fragments_[f.fragment].round), "diloco: " + std::move(what)};
  }
  [[nodiscard]] std::size_t sent_bytes(round_flight const& f, bool to_nobody) const;
  /// "round 3", or "round 3 of fragment 1" where there are several.
  [[nodiscard]] std::string name_of(round_flight const& f) const {
    std::size_t const i = f.fragment;
    return flights_.size() == 1 ? say({"round ", fragments_[i].round})
                                : say({"round ", fragments_[i].round, " of fragment ", i});
  }
  [[nodiscard]] bool meets_nobody(round_flight const& f) const {
    return over_.size() == 1 || (facts_.legs.pairs() && f.partner == over_.rank());
  }
  [[nodiscard]] exchange_tag tag_of(round_flight const& f, std::uint32_t phase) const {
    return {f.number, phase, static_cast<std::uint32_t>(f.fragment)};
  }
  /// Calls the transport and turns an exception into an error.
  template <class F>
  [[nodiscard]] auto ask(round_flight const& f, std::string_view call, F&& function) const {
    return guarded([&](cause what, std::string_view text) { return threw(f, call, what, text); }, function);
  }
  [[nodiscard]] error threw(round_flight const& f, std::string_view call, cause what,
                            std::string_view text) const {
    if (what != cause::foreign)
      return {what, run_.rank(), static_cast<long>(fragments_[f.fragment].round), std::string(text)};
    return fail(f, cause::transport,
                say({name_of(f), ": the transport ", over_.name(), " threw in ", call, ": ", text}));
  }

  run_state& run_;
  layout const& model_;
  lookup_table const& lookup_;
  state_columns& state_;
  float* anchor_;
  backend const& where_;
  transport_link const& over_;
  round_policies& policies_;
  round_facts facts_;
  std::vector<std::shared_ptr<round_flight>> flights_;  // of each fragment
  std::vector<fragment_progress> fragments_;
  std::uint64_t launches_ = 0, run_number_ = 0;
  std::size_t message_bytes_ = 0;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/round/agreement.hpp>
#include <diloco/round/landing.hpp>
#include <diloco/round/launch.hpp>
#endif

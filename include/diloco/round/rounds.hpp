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

/// Operations of a round that depend on policy types. Virtual calls: at most two of each per round.
class round_policies {
 public:
  virtual ~round_policies() = default;
  /// Pass A: encodes the fragment's contribution, (shards, slot_bytes). Enqueues.
  virtual void encode(round_flight const& f, std::byte* to) = 0;
  /// Encodes the combination of this rank's shard. Enqueues.
  virtual void encode_share(round_flight const& f, int contributors, std::byte* to) = 0;
  /// Pass B: contributors → outer step → θ. `sharded`: there are so many messages per shard. Enqueues.
  virtual void apply(round_flight const& f, int contributors, bool sharded, float mix) = 0;
  /// Updates the fragment's float32 copies of θ where the caller changed its tensors. Enqueues.
  virtual void adopt_callers_copy(round_flight const& f) = 0;
  /// Applies `inner_at_sync` to the inner optimizer and writes a new sample of θ into the caller's tensors.
  /// Enqueues.
  virtual void commit(round_flight const& f) = 0;
  /// Returns false if the weights give nothing to combine.
  virtual bool coefficients(std::span<double const> weights, std::span<float> out) const = 0;
  /// The rank that this rank meets in a round of pairs; otherwise itself.
  [[nodiscard]] virtual int partner(std::uint64_t round) const = 0;
  virtual void tell(round_launched const& e) = 0;
  virtual void tell(round_landed const& e) = 0;
  virtual void tell(round_aborted const& e) = 0;
};

/// Properties of the recipe that a round needs, without its types.
struct round_facts {
  leg_list legs;
  std::string_view compressor;                // name; of two, the one that carries less
  float largest_sent = 0;                     ///< the largest magnitude that it can encode
  std::string_view outer, combine, exchange;  // names
  magnitude_limits limits;                    ///< of compressor and outer optimizer together
  bool counts_idle = false;     ///< with a shared estimate: each nonzero coefficient becomes 1 / ranks
  std::string_view signal;      // name in error texts
  bool carries_anchor = false;  ///< as an auxiliary plane
  bool by_step_only = false;    ///< each step is a round, which sends the gradients of that step
  double deadline_seconds = 0;
  bool eager = false;   ///< the schedule counts a rank's own message when it is launched
  float own_share = 0;  ///< eager: what of that message counts
  /// Anchors differ between ranks.
  [[nodiscard]] bool replicas_differ() const { return eager || legs.pairs(); }
};

/// What a fragment knows between its rounds.
struct fragment_progress {
  std::uint64_t round = 0;    ///< number of the next one
  std::uint64_t history = 0;  ///< hash of senders and checksums of all committed rounds
  double weight = 0;          ///< tokens counted since the last launch, plus those of aborted rounds
  bool stepped = false;       ///< an inner step was taken since the last launch
  bool landed_early = false;  ///< skip the schedule's next landing: its round landed, or was not launched
  bool at_anchor = true;      ///< θ is the anchor: no step since it was set to it
  bool must_move = false;     ///< the next round is aborted if θ still equals the anchor

  /// Call after θ was set to the anchor: no step is pending.
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
                std::vector<std::shared_ptr<round_flight>> flights, std::shared_ptr<round_flight> next)
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
        next_(std::move(next)),
        fragments_(flights_.size()) {
    for (auto const& f : flights_) message_bytes_ += f->message_bytes();
    if (next_ != nullptr) message_bytes_ += next_->message_bytes();
  }

  /// Counts a step of `tokens` for every fragment. `outside`: the framework took it.
  void count_step(double tokens, bool taken, bool outside) {
    for (fragment_progress& p : fragments_) {
      p.weight += tokens;
      p.stepped = p.stepped || taken;
      p.at_anchor = p.at_anchor && !taken;
      // Outside steps may leave some fragments unchanged. With one fragment, θ must have changed.
      p.must_move = p.must_move || (outside && fragments_.size() == 1);
    }
  }
  /// Drives the exchanges of open rounds if the transport needs progress calls (`needs_progress`). Never
  /// waits.
  void progress();
  /// Error if an action launches an open fragment, or if the caller's own launch is still open.
  [[nodiscard]] result<> room_for(action_list const& actions) const;
  [[nodiscard]] result<> perform(action_list const& actions);
  [[nodiscard]] result<flight> launch_by_hand(int fragment);
  [[nodiscard]] result<> land_by_hand(flight&& f, land_options const& o);
  /// Lands the open rounds of the schedule, then runs one round of each fragment. Waits.
  [[nodiscard]] result<> sync();
  /// Error if the run has ended, or a flight was destroyed before it landed.
  [[nodiscard]] result<> usable() const;
  /// Error if a flight is open.
  [[nodiscard]] result<> all_landed(std::string_view call) const;
  [[nodiscard]] bool any_open() const;
  /// Largest weight of this rank's next rounds.
  [[nodiscard]] double largest_weight() const;
  [[nodiscard]] result<> reset_feedback();
  /// For snapshots: progress of each fragment, number of launches, and `send_again`, which starts the
  /// exchange of a message that was loaded.
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
  /// Of these bytes those that leave this rank's group, votes included; 0 without groups.
  [[nodiscard]] std::size_t bytes_between_groups() const;
  /// Bytes for the fragment of which it sends most.
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
  void start(round_flight& f, std::size_t leg);
  void send_share(round_flight& f, std::size_t leg, std::uint32_t refused);
  [[nodiscard]] message_header forwarding_header(round_flight const& f, std::size_t leg) const;
  void forward(round_flight& f, std::size_t leg) const;
  [[nodiscard]] rank_group members_of(leg const& l) const {
    return facts_.legs.members(l, over_.rank(), over_.size());
  }
  [[nodiscard]] int own_shard() const { return facts_.legs.shard_of(over_.rank()); }
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
  [[nodiscard]] result<> hear(round_flight& f, result<>& verdict, result<>& done);
  [[nodiscard]] result<> receive_leg(round_flight& f, std::size_t i, result<>& verdict, result<>& done);
  void prepare_leg(round_flight& f, std::size_t i);
  [[nodiscard]] result<> receive(round_flight& f, exchange_slot& m, std::size_t exchange);
  void apply(round_flight& f, float mix);
  void commit(round_flight& f);
  void commit_state(round_flight& f);
  void tell_landed(round_flight const& f);
  [[nodiscard]] result<> end_of_round(result<> verdict, result<> done, round_flight& f);
  [[nodiscard]] result<> aborted(error e, round_flight& f);
  void send_refusals(round_flight& f, std::uint32_t refused, std::size_t next_leg);
  [[nodiscard]] result<> given_up(error e, round_flight& f, std::size_t next_leg);
  [[nodiscard]] result<> compare_anchors(std::size_t fragment);
  // eager.hpp
  [[nodiscard]] result<> land_and_launch(std::size_t fragment, bool launches);
  [[nodiscard]] result<> land_eagerly(std::size_t fragment, bool launches);
  void step_eagerly(round_flight& now, round_flight* last, bool committed, bool launched);
  [[nodiscard]] int list_eager_terms(round_flight& now, round_flight* last, bool committed,
                                     bool launched) const;
  [[nodiscard]] bool can_be_sent(round_flight& f) const;
  [[nodiscard]] result<> sync_eagerly();
  // agreement.hpp
  void list_messages(round_flight& f, exchange_slot const& m, bool votes) const;
  void list_forwarded(round_flight& f, std::size_t leg) const;
  void collect_headers(round_flight& f, std::size_t n, std::size_t slot_bytes, bool votes) const;
  /// Whether the messages of a leg are weighed: those of ranks, or those of groups.
  [[nodiscard]] bool brings_weights(std::size_t leg) const {
    return leg == 0 || facts_.legs.legs[leg].over == span_of_leg::across;
  }
  [[nodiscard]] std::size_t group_count() const {
    return static_cast<std::size_t>(over_.size() / facts_.legs.group);
  }
  [[nodiscard]] result<> read_headers(round_flight& f, std::size_t leg);
  [[nodiscard]] result<> read_forwarded(round_flight& f, std::size_t leg);
  [[nodiscard]] message_header expected_header(round_flight const& f, std::size_t k, std::size_t leg) const;
  [[nodiscard]] result<> read_header(round_flight& f, std::size_t k, int from, std::size_t leg);
  [[nodiscard]] error unsendable(round_flight const& f, message_header const& got, int from,
                                 std::uint16_t phase) const;
  [[nodiscard]] result<> weigh(round_flight& f, std::size_t leg);
  [[nodiscard]] result<> weigh_contributions(round_flight& f, std::size_t leg);
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
  [[nodiscard]] std::size_t sent_bytes(round_flight const& f, bool to_nobody, bool between_groups) const;
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
  std::shared_ptr<round_flight> next_;                  // takes turns with flights_[0]; null unless eager
  std::vector<fragment_progress> fragments_;
  std::uint64_t launches_ = 0, run_number_ = 0;
  std::size_t message_bytes_ = 0;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/round/agreement.hpp>
#include <diloco/round/eager.hpp>
#include <diloco/round/landing.hpp>
#include <diloco/round/launch.hpp>
#endif

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/transport.hpp>

#include <array>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The transport call of a leg. `all_gather` sends one message to all ranks. `all_to_all` sends each rank the
/// shard that it owns. `pair` sends one message to one partner.
enum class operation : std::uint8_t { all_gather, all_to_all, pair };

/// The ranks of a leg: all; those of this rank's group; or one of each group, with this rank's place in it.
enum class span_of_leg : std::uint8_t { world, group, across };

/// What a leg sends: the rank's contribution; what it combines of the messages of the leg before, encoded
/// again; or these messages as they are.
enum class content : std::uint8_t { own, combined, forwarded };

/// One exchange of a round, before its vote.
struct leg {
  operation how = operation::all_gather;
  content sends = content::own;
  span_of_leg over = span_of_leg::world;
  friend bool operator==(leg const&, leg const&) = default;
};

/// The exchanges of a round in order, and the name of their pattern. Construction accepts four lists: one
/// all_gather, one pair, an all_to_all followed by an all_gather of what was combined, or that within
/// groups and across them, followed by an all_gather within the group that forwards (`two_level`).
struct leg_list {
  static constexpr int capacity = 3;

  std::string_view name;
  int count = 0;
  std::array<leg, capacity> legs{};
  int group = 0;  ///< ranks per group; rank r is in group r / group. 0: there are no groups

  [[nodiscard]] constexpr leg const* begin() const { return legs.data(); }
  [[nodiscard]] constexpr leg const* end() const { return legs.data() + count; }
  /// Whether the first leg cuts the model into one shard per rank.
  [[nodiscard]] constexpr bool shards() const { return legs[0].how == operation::all_to_all; }
  [[nodiscard]] constexpr bool pairs() const { return legs[0].how == operation::pair; }
  /// Number of shards, and the one that this rank combines.
  [[nodiscard]] constexpr int shard_count(int ranks) const {
    return !shards() ? 1 : group != 0 ? group : ranks;
  }
  [[nodiscard]] constexpr int shard_of(int rank) const { return group != 0 ? rank % group : rank; }
  /// The ranks that take part in a leg, as seen from `rank`. Not for pairs.
  [[nodiscard]] constexpr rank_group members(leg const& l, int rank, int ranks) const {
    if (l.over == span_of_leg::group) return {rank / group * group, group, 1};
    if (l.over == span_of_leg::across) return {rank % group, ranks / group, group};
    return {0, ranks, 1};
  }
  /// Largest number of messages that are read in one leg, own included. What is forwarded counts one by one.
  [[nodiscard]] constexpr int contributors(int ranks) const { return pairs() && ranks > 2 ? 2 : ranks; }
  friend bool operator==(leg_list const&, leg_list const&) = default;
};

/// An exchange policy in which ranks meet in pairs. `partner(round, rank, ranks)` is pure and equal on all
/// ranks. If a has partner b, then b has partner a; a rank may be its own partner.
template <class X>
concept pairing_exchange = requires(X const& x, std::uint64_t round, int rank) {
  { x.partner(round, rank, rank) } -> std::same_as<int>;
};

/// An exchange policy with groups of ranks: `group` of them each.
template <class X>
concept grouping_exchange = requires(X const& x) {
  { x.group } -> std::convertible_to<int>;
};

/// `second` of an exchange whose legs all use the recipe's compressor.
struct same_compressor {
  friend bool operator==(same_compressor, same_compressor) { return true; }
};

/// Says who sends what to whom. `legs(ranks)` is a pure function. `second` is the compressor of the legs that
/// combine, or same_compressor.
template <class X>
concept exchange_policy = requires(X const& x, int ranks) {
  { X::name } -> std::convertible_to<std::string_view>;
  { x.legs(ranks) } -> std::same_as<leg_list>;
  x.second;
};

/// The compressor of the legs that combine.
template <class X, class C>
using second_compressor =
    std::conditional_t<std::is_same_v<std::remove_cv_t<decltype(X::second)>, same_compressor>, C,
                       std::remove_cv_t<decltype(X::second)>>;
/// Whether the legs that combine have a compressor of their own.
template <class X>
inline constexpr bool recodes = !std::is_same_v<std::remove_cv_t<decltype(X::second)>, same_compressor>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

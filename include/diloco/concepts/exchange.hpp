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

/// One exchange of a round, before its vote.
struct leg {
  operation how = operation::all_gather;
  /// true: the message of this leg is the combination of the previous leg's messages, encoded again. false:
  /// it is the rank's own contribution.
  bool combines = false;
  friend bool operator==(leg const&, leg const&) = default;
};

/// The exchanges of a round in order, and the name of their pattern. Construction accepts three lists: one
/// all_gather, one pair, or an all_to_all followed by an all_gather that combines.
struct leg_list {
  static constexpr int capacity = 2;

  std::string_view name;
  int count = 0;
  std::array<leg, capacity> legs{};

  [[nodiscard]] constexpr leg const* begin() const { return legs.data(); }
  [[nodiscard]] constexpr leg const* end() const { return legs.data() + count; }
  /// Whether the first leg cuts the model into one shard per rank.
  [[nodiscard]] constexpr bool shards() const { return legs[0].how == operation::all_to_all; }
  [[nodiscard]] constexpr bool pairs() const { return legs[0].how == operation::pair; }
  /// Largest number of messages in the first leg, own included.
  [[nodiscard]] constexpr int contributors(int ranks) const { return pairs() && ranks > 2 ? 2 : ranks; }
  friend bool operator==(leg_list const&, leg_list const&) = default;
};

/// An exchange policy in which ranks meet in pairs. `partner(round, rank, size)` is its own inverse, a pure
/// function and the same on every rank.
template <class X>
concept pairing_exchange = requires(X const& x, std::uint64_t round, int rank) {
  { x.partner(round, rank, rank) } -> std::same_as<int>;
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
using second_compressor = std::conditional_t<std::is_same_v<decltype(X::second), same_compressor const>, C,
                                             std::remove_cv_t<decltype(X::second)>>;
/// Whether the legs that combine have a compressor of their own.
template <class X>
inline constexpr bool recodes = !std::is_same_v<decltype(X::second), same_compressor const>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

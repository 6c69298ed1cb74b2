// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/concepts/transport.hpp>
#include <diloco/state/layout.hpp>
#include <diloco/wire/hand_over.hpp>
#include <diloco/wire/plan.hpp>

#include <algorithm>
#include <cstring>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Bytes that a trainer took through its executor, all at construction. Names, shapes and the plan of tiles
/// (some 40 B per 4,096 elements) lie on the host's heap beside them.
struct footprint {
  std::size_t parameters = 0;    ///< elements of the caller's tensors that are trained
  std::size_t state_bytes = 0;   ///< columns: anchor, residuals, slots
  std::size_t wire_bytes = 0;    ///< send and receive buffers
  std::size_t index_bytes = 0;   ///< tiles and pointers
  std::size_t placed_bytes = 0;  ///< of state_bytes, what state_on_host placed on the host
  [[nodiscard]] std::size_t total_bytes() const { return state_bytes + wire_bytes + index_bytes; }
  [[nodiscard]] double state_bytes_per_parameter() const {
    return static_cast<double>(state_bytes) / static_cast<double>(parameters);
  }
};

/// Memory that the host writes and kernels read: through a copy where their columns lie, if that is not on
/// the host. A kernel that looked up a tile's row on the host would wait for the bus with each.
class mirrored {
 public:
  mirrored() = default;
  template <executor E>
  mirrored(E const& where, std::size_t bytes)
      : host_(where.allocate_wire(bytes)), copy_(E::columns_on_host ? buffer{} : where.allocate(bytes)) {}

  [[nodiscard]] std::byte* host() const { return host_.data(); }
  [[nodiscard]] std::byte* seen_by_kernels() const {
    return copy_.data() == nullptr ? host_.data() : copy_.data();
  }
  template <class T>
  [[nodiscard]] T* seen_as() const {
    return reinterpret_cast<T*>(seen_by_kernels());
  }
  [[nodiscard]] std::size_t bytes() const { return host_.size() + copy_.size(); }

  /// Enqueues; the host may write there again when the executor has come so far.
  template <executor E>
  void upload([[maybe_unused]] E const& where, [[maybe_unused]] std::size_t first,
              [[maybe_unused]] std::size_t n) const {
    if constexpr (!E::columns_on_host) {
      if (n != 0) where.copy_from_host(copy_.data() + first, host_.data() + first, n);
    }
  }

 private:
  buffer host_, copy_;
};

/// Where everything lies in what the kernels look things up in.
class index_view {
 public:
  [[nodiscard]] tile* tiles() const { return reinterpret_cast<tile*>(base_); }
  [[nodiscard]] std::size_t tile_count() const { return tiles_; }
  /// The same tiles group after group, each with its place in the group's columns.
  [[nodiscard]] tile* group_tiles() const { return tiles() + group_tiles_; }
  [[nodiscard]] slice_record* slices() const {
    return reinterpret_cast<slice_record*>(tiles() + tiles_ + group_tiles_);
  }
  [[nodiscard]] float** theta() const { return reinterpret_cast<float**>(slices() + slices_); }
  [[nodiscard]] bfloat16** bf16() const { return reinterpret_cast<bfloat16**>(theta() + rows_); }
  [[nodiscard]] float** shown() const { return reinterpret_cast<float**>(bf16() + rows_); }
  /// Where columns travel beside the pseudo-gradient: first element of each shard; (rows, planes) where they
  /// lie, and where their mean goes.
  [[nodiscard]] std::size_t* shard_columns() const { return reinterpret_cast<std::size_t*>(shown() + rows_); }
  [[nodiscard]] float** carried_from() const { return reinterpret_cast<float**>(shard_columns() + shards_); }
  [[nodiscard]] float** carried_to() const { return carried_from() + carried_ / 2; }
  // From here on what changes with a step or a round.
  /// Of float, or of bfloat16 where the flag beside says so.
  [[nodiscard]] void const** gradients() const {
    return const_cast<void const**>(reinterpret_cast<void**>(carried_to() + carried_ / 2));
  }
  [[nodiscard]] std::uint64_t* gradient_is_bf16() const {
    return reinterpret_cast<std::uint64_t*>(gradients() + rows_);
  }
  [[nodiscard]] std::byte const** wires() const {
    return reinterpret_cast<std::byte const**>(gradient_is_bf16() + rows_);
  }
  /// Their votes: apart, since kernels read the messages after them.
  [[nodiscard]] std::byte const** votes() const { return wires() + ranks_; }
  [[nodiscard]] float* coefficients() const { return reinterpret_cast<float*>(votes() + ranks_); }
  /// What goes out before each shard's payload.
  [[nodiscard]] message_header* own_headers() const {
    auto const at = reinterpret_cast<std::uintptr_t>(coefficients() + ranks_);
    return reinterpret_cast<message_header*>((at + alignof(message_header) - 1) / alignof(message_header) *
                                             alignof(message_header));
  }
  /// First row with a value that cannot be sent.
  [[nodiscard]] std::uint32_t* bad_row() const {
    return reinterpret_cast<std::uint32_t*>(own_headers() + own_headers_);
  }
  /// 0 once some tile's θ differed from its anchor.
  [[nodiscard]] std::uint32_t* moved() const { return bad_row() + 1; }

 private:
  friend class index_memory;
  index_view(layout const& l, wire_plan const& plan, int ranks)
      : tiles_(l.tiles().size()),
        group_tiles_(l.groups().size() > 1 ? tiles_ : 0),
        slices_(plan.slices().size()),
        rows_(l.rows().size()),
        ranks_(static_cast<std::size_t>(ranks)),
        own_headers_(std::max(static_cast<std::size_t>(plan.shards()), vote_copies)),
        shards_(plan.carried() == 0 ? 0 : static_cast<std::size_t>(plan.shards())),
        carried_(2 * rows_ * plan.carried()) {}
  [[nodiscard]] std::size_t size() const {
    return (tiles_ + group_tiles_) * sizeof(tile) + slices_ * sizeof(slice_record) +
           5 * rows_ * sizeof(void*) + shards_ * sizeof(std::size_t) + carried_ * sizeof(float*) +
           2 * ranks_ * sizeof(void*) + ranks_ * sizeof(float) + alignof(message_header) +
           own_headers_ * sizeof(message_header) + sizeof(std::uint64_t);
  }

  std::size_t tiles_, group_tiles_, slices_, rows_, ranks_, own_headers_, shards_, carried_;
  std::byte* base_ = nullptr;
};

/// That, as kernels see it; as the host writes it in `host()`; and what kernels write for the host.
class index_memory : public index_view {
 public:
  template <executor E>
  index_memory(E const& where, layout const& l, wire_plan const& plan, int ranks)
      : index_view(l, plan, ranks),
        host_(*this),
        memory_(where, size()),
        answers_(where.allocate_wire(static_cast<std::size_t>(ranks) *
                                         (vote_bytes + vote_copies * sizeof(std::uint64_t) + sizeof(double)) +
                                     sizeof(std::uint32_t) + sizeof(float))) {
    base_ = memory_.seen_by_kernels();
    host_.base_ = memory_.host();
    std::memcpy(host().tiles(), l.tiles().data(), tiles_ * sizeof(tile));
    if (group_tiles_ != 0) write_group_tiles(l);
    if (slices_ != 0) std::memcpy(host().slices(), plan.slices().data(), slices_ * sizeof(slice_record));
    for (std::size_t s = 0; s < shards_; ++s) host().shard_columns()[s] = plan[static_cast<int>(s)].column;
    *host().bad_row() = *host().moved() = message_header::no_row;
  }

  [[nodiscard]] index_view const& host() const { return host_; }
  /// What each rank wrote before its payload, or its vote: (ranks, copies).
  [[nodiscard]] message_header* headers() const { return answers_.as<message_header>(); }
  [[nodiscard]] double* weights() const {
    return reinterpret_cast<double*>(headers() + vote_copies * ranks_);
  }
  /// message_checksum of each.
  [[nodiscard]] std::uint64_t* checksums() const {
    return reinterpret_cast<std::uint64_t*>(weights() + ranks_);
  }
  /// First row with a number that is not finite. Not the same as bad_row: a step may be checked while a round
  /// is under way.
  [[nodiscard]] std::uint32_t* not_finite() const {
    return reinterpret_cast<std::uint32_t*>(checksums() + vote_copies * ranks_);
  }
  [[nodiscard]] float* norm() const { return reinterpret_cast<float*>(not_finite() + 1); }
  [[nodiscard]] std::size_t bytes() const { return memory_.bytes() + answers_.size(); }

  /// Enqueue: what stays for good, once every row's float32 numbers have their place; what changes with a
  /// step; with a round.
  template <executor E>
  void upload(E const& where, layout const& l) const {
    upload_tensors(where, l);
    upload(where, host().bad_row(), host().bad_row() + 2);
  }
  /// Enqueues: where the caller's tensors and their copies lie.
  template <executor E>
  void upload_tensors(E const& where, layout const& l) const {
    for (std::size_t r = 0; r < rows_; ++r) {
      host().theta()[r] = l.rows()[r].data;
      host().bf16()[r] = l.rows()[r].bf16;
      host().shown()[r] = l.rows()[r].shown;
    }
    upload(where, host().tiles(), host().gradients());
  }
  template <executor E>
  void upload_gradients(E const& where) const {
    upload(where, host().gradients(), host().wires());
  }
  template <executor E>
  void upload_round(E const& where) const {
    upload(where, host().wires(), host().bad_row());
  }

 private:
  template <executor E>
  void upload(E const& where, void const* from, void const* to) const {
    auto const at = [this](void const* p) {
      return static_cast<std::size_t>(static_cast<std::byte const*>(p) - host_.base_);
    };
    memory_.upload(where, at(from), at(to) - at(from));
  }
  void write_group_tiles(layout const& l) {
    tile* next = host().group_tiles();
    for (std::size_t g = 0; g < l.groups().size(); ++g) {
      for (tile t : l.tiles()) {
        layout::row const& r = l.rows()[t.row];
        if (r.group != g) continue;
        t.column = r.group_column + t.begin;
        *next++ = t;
      }
    }
  }

  index_view host_;
  mirrored memory_;
  buffer answers_;
};

/// What a staged compressor remembers: `next` is written while a round is under way.
struct memory_pair {
  float *now = nullptr, *next = nullptr;
  std::size_t first = 0;  // of the elements of all slices
};

/// The buffers of one round: what goes out first, under scatter–gather what the owner sends back, the vote,
/// and sums for checksums. A world of one sends nothing, so it neither checks nor votes.
struct round_wires {
  wires contribution;
  wires share;
  wires vote;
  buffer sums;                     // (messages, checksum_parts) of checksum
  std::size_t checksum_parts = 0;  // of one message

  /// `heard`: how many slots come in, of `ranks` in all.
  template <transport T, executor E>
  static round_wires allocate(E const& where, wire_plan const& plan, int heard, int ranks,
                              bool owners_send_back) {
    auto const slots = [&](std::size_t n) { return allocate_wire_for<T>(where, n * plan.slot_bytes()); };
    auto const inbox = [&] {
      return T::receives_in_place ? std::size_t{0} : static_cast<std::size_t>(heard);
    };
    std::size_t const shards = static_cast<std::size_t>(plan.shards());
    round_wires w{{slots(shards), slots(inbox())}, {}, {}, {}, 0};
    if (owners_send_back) w.share = {slots(1), slots(inbox())};
    if (ranks == 1) return w;
    auto const votes = [&](std::size_t n) { return allocate_wire_for<T>(where, n * vote_bytes); };
    w.vote = {votes(1), votes(inbox())};
    w.checksum_parts = checksum_parts_of(plan.slot_bytes());
    std::size_t const messages = std::max(shards, static_cast<std::size_t>(ranks));
    w.sums = where.allocate(messages * w.checksum_parts * sizeof(checksum));
    return w;
  }
  [[nodiscard]] std::size_t bytes() const {
    std::size_t sum = sums.size();
    for (wires const* w : {&contribution, &share, &vote}) sum += w->send.size() + w->receive.size();
    return sum;
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

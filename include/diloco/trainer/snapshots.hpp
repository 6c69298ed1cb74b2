// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/state/snapshot_file.hpp>
#include <diloco/trainer/core.hpp>

#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

namespace detail {

/// A number of the trainer as a note's text. Doubles are written as the number of their bits.
template <class T>
std::uint64_t as_word(T x) {
  if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<std::uint64_t>(x);
  else
    return static_cast<std::uint64_t>(x);
}
template <class T>
void from_word(T& x, std::uint64_t word) {
  if constexpr (std::is_same_v<T, double>)
    x = std::bit_cast<double>(word);
  else
    x = static_cast<T>(word);
}

/// The number that a note holds; nothing if it holds none.
std::optional<std::uint64_t> number_in(safetensors::contents const& c, std::string_view note);

}  // namespace detail

struct save_options {
  /// Bytes of the caller, such as the position in the data. `resume` gives them back.
  std::span<std::byte const> user = {};
  /// Newest snapshots of this rank that stay in the folder; older ones are removed once all ranks have saved.
  int keep = 2;
};

struct resume_options {
  /// The snapshot of this step. By default the newest that every rank can read.
  std::optional<std::uint64_t> step = {};
  /// Also takes snapshots of another number of ranks. See docs/how-to/save_and_resume.md for what that means.
  bool other_ranks = false;
  /// With a folder that holds no snapshot, or no folder, the run begins at step 0.
  bool may_be_empty = false;
  /// Also takes snapshots of a recipe with other numbers, such as a lower rate; `changed` lists them.
  /// Tensors and columns must be the same, and no round under way.
  bool other_settings = false;
};

/// What `resume` found.
struct resumed {
  std::uint64_t steps = 0, rounds = 0;  ///< as the trainer's functions of these names
  int ranks = 0;                        ///< that saved it; 0 if the folder was empty
  std::vector<std::byte> user;
  std::vector<std::string> passed_over;  ///< why each newer file of this rank was not taken
  std::vector<std::string> changed;      ///< settings that differ from those that saved it
  std::vector<std::string> set_to_zero;  ///< columns that have no meaning for another number of ranks
};

/// Saves and loads the state of one trainer.
class snapshots {
 public:
  explicit snapshots(trainer_core& of) : core_(of), rank_(of.over_.rank()), ranks_(of.over_.size()) {}
  [[nodiscard]] result<> save(std::string const& folder, save_options const& o);
  [[nodiscard]] result<resumed> resume(std::string const& folder, resume_options const& o);

 private:
  static constexpr std::uint64_t format = 1;

  /// Memory that is one tensor of the file.
  struct part {
    std::string name;
    safetensors::dtype type;
    std::vector<std::size_t> shape;
    std::byte* at;
    std::size_t bytes;
    bool on_host;
  };
  struct source {
    part to;
    std::uint64_t at;  ///< first byte within the data of the file
  };
  struct candidate {
    snapshot_name name;
    std::string path;
    std::unique_ptr<snapshot_reader> file = nullptr;
    [[nodiscard]] bool has_its_name() const { return path.ends_with(name.text()); }
    /// Orders snapshots: by step, then by number of ranks. Never 0.
    [[nodiscard]] std::uint64_t key() const {
      return (name.step + 1) << 20 | static_cast<std::uint64_t>(name.ranks);
    }
  };

  /// Of all ranks: the least and greatest key, whether what they have found is alike, how many files have
  /// their names or are damaged, and the newest of another number of ranks.
  struct heard {
    std::uint64_t least = 0, most = 0, named = 0, damaged = 0, other = 0;
    bool alike = true, may_be_empty = true;
  };

  // What a snapshot holds.
  [[nodiscard]] std::vector<part> parts(std::vector<char> const& open) const;
  void add_rows(std::vector<part>& all) const;
  void add_column(std::vector<part>& all, state_column& c, std::vector<char> const& open) const;
  [[nodiscard]] std::vector<std::string> contract(bool same_ranks) const;
  /// Calls visit(name, number) for each number of the trainer that is no column. Flags and weights too.
  template <class Visit>
  void for_each_number(std::vector<char> const& open, Visit&& visit) const;

  [[nodiscard]] error refuse(std::string_view call, std::string_view why,
                             cause what = cause::wrong_state) const {
    return core_.run.fail(what, say({call, ": ", why}));
  }
  void copy(std::byte* to, std::byte const* from, std::size_t bytes, bool on_host, bool to_host) const;

  [[nodiscard]] static std::optional<std::uint64_t> run_that_saved(std::string const& path);

  // Saving.
  [[nodiscard]] std::string own_file(std::string const& folder) const;
  [[nodiscard]] result<> all_could(result<> const& done, std::uint32_t phase) const;
  [[nodiscard]] result<> may_save(save_options const& o) const;
  [[nodiscard]] result<> write(snapshot_writer& file, std::string const& folder, save_options const& o) const;
  [[nodiscard]] result<> folder_is_ours(std::string const& folder) const;
  [[nodiscard]] safetensors::contents describe(std::vector<part> const& all,
                                               std::vector<char> const& open) const;
  void remove_old(std::string const& folder, int keep) const;

  // Resuming.
  [[nodiscard]] result<resumed> find_and_load(std::string const& folder, resume_options const& o);
  [[nodiscard]] result<std::vector<candidate>> list(std::string const& folder, resume_options const& o,
                                                    std::uint64_t& other) const;
  [[nodiscard]] result<> open(candidate& c) const;
  [[nodiscard]] result<heard> hear(std::vector<candidate> const& all, std::uint64_t damaged,
                                   std::uint64_t other, bool may_be_empty);
  /// The newest snapshot that every rank can read; none if no rank has any.
  [[nodiscard]] result<std::optional<candidate>> find(std::string const& folder, resume_options const& o,
                                                      resumed& out);
  void drop_invalid(std::vector<candidate>& all, std::uint64_t bound, resumed& out) const;
  [[nodiscard]] error none_found(std::string const& folder, resume_options const& o, resumed const& out,
                                 std::uint64_t other) const;
  [[nodiscard]] static std::string other_text(std::uint64_t key);
  [[nodiscard]] static std::vector<std::string> contract_in(safetensors::contents const& c);
  [[nodiscard]] result<> compare_settings(candidate const& c, resume_options const& o, resumed& out) const;
  [[nodiscard]] result<> check(candidate const& c, resume_options const& o, resumed& out) const;
  [[nodiscard]] result<std::vector<source>> match(candidate const& c, std::vector<char> const& open) const;
  [[nodiscard]] std::string identity(candidate const& c) const;
  [[nodiscard]] result<> load(candidate const& c, resumed& out);
  void note_runs(std::string const& folder, candidate const& c, resume_options const& o);
  [[nodiscard]] result<> load_parts(candidate const& c, std::vector<char> const& open, resumed& out);
  [[nodiscard]] result<> load_part(snapshot_reader const& file, std::uint64_t at, part const& p,
                                   std::span<std::byte> through) const;
  /// Whether a column starts with zeros, because its contents belong to other ranks.
  [[nodiscard]] bool shards_moved(candidate const& c) const;
  [[nodiscard]] bool starts_with_zeros(state_column const& c, candidate const& from) const;
  [[nodiscard]] result<> send_open_rounds(std::vector<char> const& open) const;
  [[nodiscard]] std::vector<char> open_in(safetensors::contents const& c) const;

  trainer_core& core_;
  int rank_, ranks_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/trainer/snapshots_contents.hpp>
#include <diloco/trainer/snapshots_find.hpp>
#include <diloco/trainer/snapshots_resume.hpp>
#include <diloco/trainer/snapshots_save.hpp>
#endif

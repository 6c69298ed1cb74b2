// SPDX-License-Identifier: Apache-2.0
// Text, and which worker may see which part of it.
#pragma once

#include "bad_input.hpp"
#include "random.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace gpt {

using bytes = std::vector<std::uint8_t>;
using chunk = std::span<std::uint8_t const>;

struct corpus {
  bytes text;
  std::size_t files = 0;
  std::string remark;  // what was left out, or empty
};

// Reads a file, or all text files below a directory, one after another in the order of their names. From a
// directory it reads at most `most_bytes`, and only whole files. Throws bad_input if there is nothing to
// read.
corpus load_corpus(std::filesystem::path const& path, std::size_t most_bytes = std::size_t(64) << 20);

// The text is cut into contiguous chunks of at most 16 KiB. Every tenth chunk is held out for validation. The
// others are dealt to the workers in turn.
// No window of text crosses a chunk's border, so no text belongs to two workers.
struct split {
  std::vector<chunk> validation;
  std::vector<std::vector<chunk>> shards;  // [worker]
};

// Refers to `text` without a copy. Throws bad_input if it is too short for that many workers and that
// context.
split split_text(bytes const& text, std::string const& name, int workers, int context);

struct batch {
  batch(int sequences, int context)
      : tokens(std::size_t(sequences) * std::size_t(context)), targets(tokens.size()) {}
  bytes tokens;   // (B, T)
  bytes targets;  // (B, T): the byte after each token
};

// Fills the batch with windows drawn at random, with replacement, from the chunks.
void draw(batch& into, std::vector<chunk> const& from, int context, random_stream random);

// The same `sequences` windows every time, spread evenly over the held-out text: window i of the list is
// (validation_window(...)[i], context + 1 bytes). Fewer if the text holds fewer.
std::vector<chunk> validation_windows(std::vector<chunk> const& validation, int context,
                                      std::size_t sequences);

}  // namespace gpt

// SPDX-License-Identifier: Apache-2.0
#include "data.hpp"

#include <algorithm>
#include <fstream>

namespace gpt {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t largest_chunk = 16384, held_out_every = 10;

bytes read_file(fs::path const& path) {
  std::ifstream in(path, std::ios::binary);
  bytes content((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.is_open() || in.bad()) throw bad_input("--data " + path.string() + ": cannot be read");
  return content;
}

bool is_text(bytes const& content) { return std::find(content.begin(), content.end(), 0) == content.end(); }

std::vector<fs::path> files_below(fs::path const& directory) {
  std::vector<fs::path> files;
  auto const options = fs::directory_options::skip_permission_denied;
  for (auto const& entry : fs::recursive_directory_iterator(directory, options))
    if (entry.is_regular_file() && !entry.is_symlink()) files.push_back(entry.path());
  std::sort(files.begin(), files.end(),
            [](fs::path const& a, fs::path const& b) { return a.generic_string() < b.generic_string(); });
  return files;
}

corpus load_directory(fs::path const& directory, std::size_t most_bytes) {
  corpus all;
  std::size_t binary = 0, too_many = 0;
  for (fs::path const& path : files_below(directory)) {
    std::error_code unknown;
    if (all.text.size() + fs::file_size(path, unknown) > most_bytes) {
      ++too_many;
      continue;
    }
    bytes const content = read_file(path);
    if (!is_text(content)) {
      ++binary;
      continue;
    }
    all.text.insert(all.text.end(), content.begin(), content.end());
    ++all.files;
  }
  if (all.files == 0) throw bad_input("--data " + directory.string() + ": holds no text file");
  if (binary != 0) all.remark += ", " + std::to_string(binary) + " binary files left out";
  if (too_many != 0) {
    all.remark += ", " + std::to_string(too_many) + " files left out beyond " +
                  std::to_string(most_bytes >> 20) + " MiB";
  }
  return all;
}

}  // namespace

corpus load_corpus(fs::path const& path, std::size_t most_bytes) {
  std::error_code error;
  fs::file_status const status = fs::status(path, error);
  if (!fs::exists(status)) throw bad_input("--data " + path.string() + ": no such file or directory");
  corpus all;
  if (fs::is_directory(status)) {
    all = load_directory(path, most_bytes);
  } else if (fs::is_regular_file(status)) {
    all = {read_file(path), 1, {}};
  } else {
    throw bad_input("--data " + path.string() + ": is neither a file nor a directory");
  }
  if (all.text.empty()) throw bad_input("--data " + path.string() + ": is empty");
  return all;
}

split split_text(bytes const& text, std::string const& name, int workers, int context) {
  std::size_t const k = static_cast<std::size_t>(workers), window = static_cast<std::size_t>(context) + 1;
  std::size_t const training = held_out_every - 1;
  std::size_t const fewest_chunks = held_out_every * ((k + training - 1) / training);  // one for each worker
  std::size_t const length = std::min(largest_chunk, text.size() / fewest_chunks);
  if (length < window) {
    throw bad_input("--data " + name + ": holds " + std::to_string(text.size()) + " bytes, but " +
                    std::to_string(workers) + " workers with a context of " + std::to_string(context) +
                    " need at least " + std::to_string(fewest_chunks * window));
  }
  split parts;
  parts.shards.resize(k);
  std::size_t const chunks = text.size() / length;
  for (std::size_t i = 0, dealt = 0; i < chunks; ++i) {
    std::size_t const begin = i * length, end = i + 1 == chunks ? text.size() : begin + length;
    chunk const piece(text.data() + begin, end - begin);
    if (i % held_out_every == held_out_every - 1) {
      parts.validation.push_back(piece);
    } else {
      parts.shards[dealt++ % k].push_back(piece);
    }
  }
  return parts;
}

void draw(batch& into, std::vector<chunk> const& from, int context, random_stream random) {
  std::size_t const t = static_cast<std::size_t>(context);
  for (std::size_t row = 0; row < into.tokens.size(); row += t) {
    chunk const piece = from[random.below(from.size())];
    chunk const window = piece.subspan(random.below(piece.size() - t), t + 1);
    std::copy_n(window.begin(), t, into.tokens.begin() + static_cast<std::ptrdiff_t>(row));
    std::copy_n(window.begin() + 1, t, into.targets.begin() + static_cast<std::ptrdiff_t>(row));
  }
}

std::vector<chunk> validation_windows(std::vector<chunk> const& validation, int context,
                                      std::size_t sequences) {
  std::size_t const t = static_cast<std::size_t>(context);
  std::vector<chunk> all, some;
  for (chunk const& piece : validation)
    for (std::size_t begin = 0; begin + t < piece.size(); begin += t)
      all.push_back(piece.subspan(begin, t + 1));
  std::size_t const wanted = std::min(sequences, all.size());
  for (std::size_t i = 0; i < wanted; ++i) some.push_back(all[i * all.size() / wanted]);
  return some;
}

}  // namespace gpt

// SPDX-License-Identifier: Apache-2.0
#include "default_text.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <vector>

namespace gpt {

namespace {

namespace fs = std::filesystem;

bool holds_headers(fs::path const& directory) {
  std::error_code ignored;
  return fs::is_regular_file(directory / "vector", ignored);
}

std::vector<fs::path> elsewhere() {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (auto const& entry : fs::directory_iterator("/usr/include/c++", ignored))
    if (holds_headers(entry.path())) found.push_back(entry.path());
  for (char const* place : {"/usr/include/c++/v1", "/usr/lib/llvm/include/c++/v1"})
    if (holds_headers(place)) found.emplace_back(place);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

std::string default_text() {
  fs::path const built_with = GPT_COMPILER_HEADERS;
  if (!built_with.empty() && holds_headers(built_with)) return built_with.string();
  auto const others = elsewhere();
  if (others.empty()) return {};
  std::fprintf(stderr, "diloco_gpt: the compiler's headers '%s' are not here; learning %s instead\n",
               built_with.c_str(), others.back().c_str());
  return others.back().string();
}

}  // namespace gpt

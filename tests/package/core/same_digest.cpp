// SPDX-License-Identifier: Apache-2.0
// Runs both programs and compares what they print.
#include <cstdio>
#include <string>

static std::string output_of(char const* program) {
  std::string text;
  if (FILE* const out = popen(program, "r")) {
    char part[256];
    while (std::fgets(part, sizeof part, out) != nullptr) text += part;
    if (pclose(out) != 0) text.clear();
  }
  return text;
}

int main() {
  std::string const core = output_of(BY_CORE), headers = output_of(BY_HEADERS);
  std::printf("core:\n%sheaders:\n%s", core.c_str(), headers.c_str());
  return core.empty() || core != headers ? 1 : 0;
}

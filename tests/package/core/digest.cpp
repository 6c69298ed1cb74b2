// SPDX-License-Identifier: Apache-2.0
// Two workers, three rounds, and an error; prints what came of them.
#include <diloco/diloco.hpp>

#include <cstdio>

int main() {
#if defined(DILOCO_COMPILED_CORE)
  static_assert(!DILOCO_HEADER_ONLY);
#endif
  diloco::run_threads(2, [](diloco::threads transport) {
    int const rank = transport.rank();
    std::vector<float> theta(5000, 1.0f), gradient(5000);
    std::vector<diloco::tensor> parameters{{.name = "w", .shape = {50, 100}, .data = theta.data()}};
    diloco::DiLoCo trainer(diloco::recipe<>{}
                               .with_compressor(diloco::absmax<4>{})
                               .with_transport(std::move(transport))
                               .with_schedule(diloco::every(4)),
                           parameters);
    std::vector<std::span<float const>> const gradients{gradient};
    for (int step = 0; step < 12; ++step) {
      for (std::size_t i = 0; i < gradient.size(); ++i)
        gradient[i] = static_cast<float>((i * 7 + static_cast<std::size_t>(step + rank)) % 13) - 6.0f;
      trainer.step(gradients);
    }
    auto const refused = trainer.try_cell("w", "nothing");
    if (rank == 0)
      std::printf("%016llx %s\n%s\n", static_cast<unsigned long long>(trainer.digest()),
                  trainer.describe().c_str(), refused.error().message.c_str());
  });
}

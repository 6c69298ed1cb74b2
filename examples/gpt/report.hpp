// SPDX-License-Identifier: Apache-2.0
// The results of a run: a table for people, JSON for programs, a picture.
#pragma once

#include "options.hpp"
#include "train.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace gpt {

// Share of the time that is spent on training, on a network of link_mbit_per_second per worker and direction:
//   compute / (compute + rounds' own work + bytes sent / bandwidth)
// It ignores latency and protocol overhead, and it assumes that nothing overlaps.
double utilization(cost const& c, double link_mbit_per_second);

std::string table(run const& data_parallel, run const& diloco, double link_mbit_per_second);

void write_metrics(std::filesystem::path const& file, std::vector<run const*> const& runs);
void write_summary(std::filesystem::path const& file, options const& o, run const& warm_up,
                   run const& data_parallel, run const& diloco, double seconds);

// Writes loss.gnuplot and, with it, loss.png. Returns a sentence that says why there is no picture, or an
// empty one.
std::string draw_picture(std::filesystem::path const& directory, run const& warm_up, run const& data_parallel,
                         run const& diloco);

std::string grouped(double whole);  // 12,345,678

}  // namespace gpt

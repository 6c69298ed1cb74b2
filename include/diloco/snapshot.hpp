// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/trainer.hpp>
#include <diloco/trainer/snapshots.hpp>

// Not part of diloco.hpp: it costs a second of compile time.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Saves everything that the trainer's next step depends on: θ, anchor, residual, slots, counters, and rounds
/// that the schedule has launched, with their messages. Each rank writes one file into `folder`:
/// step-<steps>.rank-<rank>-of-<ranks>.safetensors. A run that resumes from it takes the same steps, bit for
/// bit, as the run that went on.
/// Collective; waits. Needs 1 MiB and the file's header. A crash at any time leaves older snapshots valid. If
/// one rank cannot write, all ranks get an error, and the run can go on.
/// Refused: a flight of the caller's own, tensors that show a mean, a folder that holds another run or later
/// steps. Frozen tensors, probes and policies with state of their own are the caller's to save.
template <class... Policies>
[[nodiscard]] result<> try_save(DiLoCo<Policies...>& trainer, std::string const& folder,
                                save_options const& o = {}) {
  return snapshots(trainer_access::core(trainer)).save(folder, o);
}
template <class... Policies>
void save(DiLoCo<Policies...>& trainer, std::string const& folder, save_options const& o = {}) {
  try_save(trainer, folder, o).value();
}

/// Loads the newest snapshot that every rank can read and that passes its digest, into the trainer and into
/// the caller's tensors. Recipe and tensors must be those that saved it; an error names the first difference.
/// Collective; waits. Reads the file twice. On an error nothing has changed, except where a file that passed
/// its digest cannot be read again: that ends the run.
template <class... Policies>
[[nodiscard]] result<resumed> try_resume(DiLoCo<Policies...>& trainer, std::string const& folder,
                                         resume_options const& o = {}) {
  return snapshots(trainer_access::core(trainer)).resume(folder, o);
}
template <class... Policies>
resumed resume(DiLoCo<Policies...>& trainer, std::string const& folder, resume_options const& o = {}) {
  return try_resume(trainer, folder, o).value();
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

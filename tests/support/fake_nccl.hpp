// SPDX-License-Identifier: Apache-2.0
#pragma once

// A stand-in for NCCL and for what transport/nccl.hpp calls of the CUDA runtime: over threads of one process
// and host memory, with faults on request. Linked in place of the real libraries. It proves the transport's
// control flow (what is called, in which order, what becomes of buffers when something fails), and nothing
// about NCCL: that is tests/cuda/nccl.cu.
//
// A stream is a list of tasks that runs as far as it can whenever anybody calls anything. A collective is a
// task that hands its bytes to its peers' mailboxes when it is reached, and is over when its own mailboxes
// have what it waits for.
#include <nccl.h>

#include <string>
#include <vector>

namespace fake {

struct settings {
  int in_progress = 0;                   ///< how often a call is ncclInProgress before NCCL has enqueued it
  ncclResult_t unique_id = ncclSuccess;  ///< what ncclGetUniqueId returns
  ncclResult_t init = ncclSuccess;       ///< what making a communicator ends with
  ncclResult_t start = ncclSuccess;      ///< what ncclAllGather, ncclSend and ncclRecv return
  ncclResult_t revoke = ncclSuccess;     ///< what ncclCommRevoke returns
  bool revoke_ends = true, abort_ends = true, finalize_ends = true;
  std::string cuda_fails{};  ///< the name of a runtime function that fails
  std::string last_error{};  ///< what ncclGetLastError says
};

struct counts {
  int revokes = 0, aborts = 0, finalizes = 0, destroys = 0;
  int streams = 0, events = 0;  ///< that live
  int misuses = 0;              ///< calls that NCCL forbids, or that would block
};

void reset(settings s = {});
void set(settings s);
counts count();
/// Names of calls in order: exchanges, events, waits.
std::vector<std::string> calls();
/// From now on an asynchronous error of this rank's communicators.
void fail(int rank, ncclResult_t code);
/// A stream that stands still until it is released.
cudaStream_t held_stream();
void release(cudaStream_t stream);
void destroy(cudaStream_t stream);
/// As between cudaStreamBeginCapture and its end.
void capture(cudaStream_t stream, bool captured);
/// An id for a world, drawn anew.
ncclUniqueId unique_id();

}  // namespace fake

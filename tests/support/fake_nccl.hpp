// SPDX-License-Identifier: Apache-2.0
#pragma once

// A fake of NCCL and of the CUDA runtime calls in transport/nccl.hpp. It uses threads of one process and host
// memory, and can inject faults. Tests link it instead of the real libraries.
// It checks the transport's control flow: which calls are made, in which order, and what happens to buffers
// after a failure. It checks nothing about NCCL itself; tests/cuda/nccl.cu does that.
//
// A stream is a list of tasks. It runs as far as it can whenever any call is made. When a collective's task
// is reached, it puts its bytes into its peers' mailboxes. It ends when its own mailboxes hold what it needs.
#include <nccl.h>

#include <string>
#include <vector>

namespace fake {

struct settings {
  int in_progress = 0;  ///< how often a call returns ncclInProgress before NCCL has enqueued it
  ncclResult_t unique_id = ncclSuccess;  ///< what ncclGetUniqueId returns
  ncclResult_t init = ncclSuccess;       ///< result of making a communicator
  ncclResult_t start = ncclSuccess;      ///< what ncclAllGather, ncclSend and ncclRecv return
  ncclResult_t revoke = ncclSuccess;     ///< what ncclCommRevoke returns
  bool revoke_ends = true, abort_ends = true, finalize_ends = true;
  std::string cuda_fails{};  ///< the name of a runtime function that fails
  std::string last_error{};  ///< what ncclGetLastError says
};

struct counts {
  int revokes = 0, aborts = 0, finalizes = 0, destroys = 0;
  int streams = 0, events = 0;  ///< alive
  int misuses = 0;              ///< calls that NCCL forbids or that would block
};

void reset(settings s = {});
void set(settings s);
counts count();
/// Names of calls in order: exchanges, events, waits.
std::vector<std::string> calls();
/// From now on, this rank's communicators report this asynchronous error.
void fail(int rank, ncclResult_t code);
/// A stream that makes no progress until it is released.
cudaStream_t held_stream();
void release(cudaStream_t stream);
void destroy(cudaStream_t stream);
/// Sets whether the stream counts as being captured, as between cudaStreamBeginCapture and its end.
void capture(cudaStream_t stream, bool captured);
/// A new id for a world.
ncclUniqueId unique_id();

}  // namespace fake

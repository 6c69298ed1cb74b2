// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/meeting.hpp>
#include <diloco/transport/detail/slotted_arrival.hpp>

#include <nccl.h>  // and with it the CUDA runtime

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <optional>

/// Whether a communicator that missed a deadline is revoked, which can be waited for. Otherwise it is
/// aborted.
#if !defined(DILOCO_NCCL_REVOKES)
#define DILOCO_NCCL_REVOKES (NCCL_VERSION_CODE >= NCCL_VERSION(2, 28, 7))
#endif

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

static_assert(NCCL_VERSION_CODE >= NCCL_VERSION(2, 14, 0),
              "diloco: nccl: needs NCCL 2.14 or newer, whose communicators do not block");

/// One exchange. It owns its buffers until it is complete.
struct nccl_operation {
  wires memory;
  exchange_tag tag;
  exchange_members members;
  bool cut = false;  // whether slot i of `send` goes to member i
  // An exchange with oneself is not passed to NCCL. It is complete when the stream reaches it.
  bool own = false;
  bool refused = false;   // it was never begun
  bool posted = false;    // it was passed to NCCL
  bool recorded = false;  // NCCL has enqueued it, and event `over` is recorded after it
  cudaEvent_t over = nullptr;

  [[nodiscard]] int partner(int own_rank) const {
    rank_group const& g = members.ranks;
    return g.rank(0) == own_rank ? g.rank(g.count - 1) : g.rank(0);
  }
};

inline error nccl_failure(ncclResult_t code, std::string_view what, ncclComm_t handle = nullptr, int rank = 0,
                          long round = 0) {
  char const* const detail = handle != nullptr ? ncclGetLastError(handle) : "";
  bool const more = detail != nullptr && *detail != 0;
  return {code == ncclRemoteError ? cause::peer_lost : cause::transport, rank, round,
          say({"diloco: nccl: ", what, ": ", ncclGetErrorString(code), more ? " (" : "", more ? detail : "",
               more ? ")" : ""})};
}

/// A communicator, its own stream, and the open exchanges.
struct nccl_communicator {
  static constexpr double give_up_seconds = 2, finalize_seconds = 5;

  ncclComm_t handle = nullptr;
  bool owned = false;
  int rank = 0, size = 0;
  cudaStream_t stream = nullptr;
  cudaEvent_t ready = nullptr;  // recorded on other streams, and at the very end
  std::vector<cudaEvent_t> spare;
  // Exchanges that NCCL has not enqueued yet. While one is in progress, NCCL accepts no second call.
  std::deque<nccl_operation*> waiting;
  std::optional<error> broken;  // the first failure; no exchange begins after it
  bool stopping = false, stoppable = true, quiet = false, aborts = false;
  std::shared_ptr<std::atomic<bool>> aborted = std::make_shared<std::atomic<bool>>(false);

  nccl_communicator(ncclComm_t c, bool own, int r, int n) : handle(c), owned(own), rank(r), size(n) {
    int low = 0, high = 0;  // the small messages of a round must not queue behind sweeps
    check(cudaDeviceGetStreamPriorityRange(&low, &high), "cudaDeviceGetStreamPriorityRange", {});
    check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, high), "cudaStreamCreateWithPriority",
          {});
    check(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming), "cudaEventCreateWithFlags", {});
  }
  nccl_communicator(nccl_communicator const&) = delete;
  nccl_communicator& operator=(nccl_communicator const&) = delete;
  /// Neither aborts nor waits for long. What NCCL still uses is not freed, nor is its stream.
  ~nccl_communicator() {
    if (broken && !quiet) return;
    if (owned && !aborts) {
      if (!broken && !finalized()) return;
      // ncclCommDestroy blocks on a communicator that is not finalized. This one is finalized or was revoked.
      ncclCommDestroy(handle);
    }
    for (cudaEvent_t e : spare) cudaEventDestroy(e);
    cudaEventDestroy(ready);
    cudaStreamDestroy(stream);
  }

  /// Raises where the stream is being captured. Any later failure is reported by the next exchange.
  void after(cudaStream_t theirs) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(broken ? cudaSuccess : cudaStreamIsCapturing(theirs, &status), "cudaStreamIsCapturing", {});
    if (status != cudaStreamCaptureStatusNone) {
      raise({cause::wrong_state, rank, 0,
             "diloco: nccl: the stream is being captured in a graph, and an exchange cannot be; capture "
             "steps only"});
    }
    check(broken ? cudaSuccess : cudaEventRecord(ready, theirs), "cudaEventRecord", {});
    check(broken ? cudaSuccess : cudaStreamWaitEvent(stream, ready, 0), "cudaStreamWaitEvent", {});
  }
  void begin(nccl_operation& o) {
    o.refused = broken.has_value();
    if (o.refused) return;
    if (spare.empty()) {
      check(cudaEventCreateWithFlags(&o.over, cudaEventDisableTiming), "cudaEventCreateWithFlags", o.tag);
    } else {
      o.over = spare.back();
      spare.pop_back();
    }
    if (o.own && !broken) o.recorded = check(cudaEventRecord(o.over, stream), "cudaEventRecord", o.tag);
    if (!o.own) waiting.push_back(&o);
    progress();
  }
  void end(nccl_operation const& o) {
    std::erase(waiting, &o);
    if (o.over != nullptr) spare.push_back(o.over);
  }
  /// Passes waiting exchanges to NCCL. An event is recorded behind a call only after NCCL's own thread has
  /// enqueued the call.
  void progress() {
    while (!broken && !waiting.empty()) {
      nccl_operation& o = *waiting.front();
      if (!std::exchange(o.posted, true) && !check(post(o), "starting the exchange", o.tag)) return;
      ncclResult_t state = ncclSuccess;
      if (!check(ncclCommGetAsyncError(handle, &state), "ncclCommGetAsyncError", o.tag)) return;
      if (state == ncclInProgress) return;
      if (!check(state, "starting the exchange", o.tag)) return;
      o.recorded = check(cudaEventRecord(o.over, stream), "cudaEventRecord", o.tag);
      waiting.pop_front();
    }
  }
  /// All but a gather of all ranks is made of sends and receives. ncclAlltoAll exists only from NCCL 2.28
  /// on and does the same inside.
  [[nodiscard]] ncclResult_t post(nccl_operation const& o) const {
    auto const [send, receive] = std::pair(o.memory.send.data(), o.memory.receive.data());
    std::size_t const bytes = o.memory.send.size();
    rank_group const& g = o.members.ranks;
    if (!o.members.pair && !o.cut && g.count == size)
      return ncclAllGather(send, receive, bytes, ncclUint8, handle, stream);
    std::size_t const slot = o.cut ? bytes / static_cast<std::size_t>(g.count) : bytes;
    ncclResult_t code = ncclGroupStart();
    auto const keep = [&](ncclResult_t c) {
      if (code == ncclSuccess || code == ncclInProgress) code = c;
    };
    for (int i = 0; i < g.count; ++i) {
      int const peer = g.rank(i);
      if (o.members.pair && peer == rank) continue;
      std::size_t const at = static_cast<std::size_t>(i) * slot;
      keep(ncclSend(send + (o.cut ? at : 0), slot, ncclUint8, peer, handle, stream));
      keep(ncclRecv(receive + (o.members.pair ? 0 : at), slot, ncclUint8, peer, handle, stream));
    }
    keep(ncclGroupEnd());
    return code;
  }
  /// Whether the exchange is complete. Errors: the communicator is broken. Then data that a revoked kernel
  /// left behind is invalid too.
  [[nodiscard]] result<bool> look(nccl_operation const& o) {
    progress();
    bool over = false;
    if (!broken && o.recorded) {
      cudaError_t const code = cleared(cudaEventQuery(o.over));
      over = code == cudaSuccess;
      if (code != cudaErrorNotReady) check(code, "cudaEventQuery", o.tag);
    }
    ncclResult_t state = ncclSuccess;
    if (!broken) check(ncclCommGetAsyncError(handle, &state), "ncclCommGetAsyncError", o.tag);
    if (!broken) check(state, "the exchange", o.tag);
    if (broken) return *broken;
    return over;
  }

  bool check(ncclResult_t code, std::string_view call, exchange_tag tag) {
    if (code == ncclSuccess || code == ncclInProgress) return true;
    auto const what = say({"round ", tag.round, " phase ", tag.phase, ": ", call, " failed"});
    if (!broken) broken = nccl_failure(code, what, handle, rank, static_cast<long>(tag.round));
    return false;
  }
  /// Returns `code` and clears the thread's last error. Otherwise the next launch of any caller would report
  /// it again.
  static cudaError_t cleared(cudaError_t code) {
    if (code != cudaSuccess) static_cast<void>(cudaGetLastError());
    return code;
  }
  bool check(cudaError_t code, std::string_view call, exchange_tag tag) {
    if (cleared(code) == cudaSuccess) return true;
    if (!broken) {
      broken = error{cause::transport, rank, static_cast<long>(tag.round),
                     say({"diloco: nccl: ", call, " failed: ", cudaGetErrorString(code)})};
    }
    return false;
  }

  /// Begins to stop NCCL's use of all buffers. Only enqueues. An abort may wait for ever, so it runs in its
  /// own thread.
  void stop() {
    waiting.clear();
    if (std::exchange(stopping, true)) return;
#if DILOCO_NCCL_REVOKES
    ncclResult_t const code = ncclCommRevoke(handle, NCCL_REVOKE_DEFAULT);
    stoppable = code == ncclSuccess || code == ncclInProgress;
#else
    stoppable = aborts = owned;
    if (!owned) return;
    std::thread([c = handle, out = aborted] { *out = ncclCommAbort(c) == ncclSuccess; }).detach();
#endif
  }
  /// True: neither NCCL nor the stream uses a buffer any more. False after `give_up_seconds`: this is
  /// unknown.
  bool give_up() {
    stop();
    if (!stoppable) return false;
    deadline const d = deadline_after(give_up_seconds);
    while (!quiet && !is_stopped()) {
      if (is_past(d)) return false;
      std::this_thread::yield();
    }
    if (!quiet && cleared(cudaEventRecord(ready, stream)) != cudaSuccess) return false;
    while (!quiet) {
      cudaError_t const code = cleared(cudaEventQuery(ready));
      quiet = code == cudaSuccess;
      if (!quiet && (code != cudaErrorNotReady || is_past(d))) return false;
    }
    return true;
  }
  [[nodiscard]] bool is_stopped() const {
    if (aborts) return *aborted;
    ncclResult_t state = ncclInProgress;
    return DILOCO_NCCL_REVOKES && ncclCommGetAsyncError(handle, &state) == ncclSuccess &&
           state == ncclSuccess;
  }
  [[nodiscard]] bool finalized() const {
    ncclResult_t state = ncclCommFinalize(handle);
    for (deadline const d = deadline_after(finalize_seconds); state == ncclInProgress && !is_past(d);) {
      std::this_thread::yield();
      if (ncclCommGetAsyncError(handle, &state) != ncclSuccess) return false;
    }
    return state == ncclSuccess;
  }
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

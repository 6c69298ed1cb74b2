// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/meeting.hpp>
#include <diloco/transport/detail/slotted_arrival.hpp>

#include <nccl.h>  // and with it the CUDA runtime

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <optional>

/// Whether a communicator that a deadline overtook is revoked, which can be waited for; else it is aborted.
#if !defined(DILOCO_NCCL_REVOKES)
#define DILOCO_NCCL_REVOKES (NCCL_VERSION_CODE >= NCCL_VERSION(2, 28, 7))
#endif

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

static_assert(NCCL_VERSION_CODE >= NCCL_VERSION(2, 14, 0),
              "diloco: nccl: needs NCCL 2.14 or newer, whose communicators do not block");

/// One exchange: it owns its buffers until it is over.
struct nccl_operation {
  wires memory;
  exchange_tag tag;
  int partner = with_everybody;
  bool cut = false;       // slot r of `send` to rank r
  bool own = false;       // with oneself: NCCL is not told, and it is over when its turn in the stream comes
  bool refused = false;   // never begun
  bool posted = false;    // NCCL has been told
  bool recorded = false;  // NCCL has enqueued it where it is told, and `over` stands behind it in the stream
  cudaEvent_t over = nullptr;
};

inline error nccl_failure(ncclResult_t code, std::string_view what, ncclComm_t handle = nullptr, int rank = 0,
                          long round = 0) {
  char const* const detail = handle != nullptr ? ncclGetLastError(handle) : "";
  bool const more = detail != nullptr && *detail != 0;
  return {code == ncclRemoteError ? cause::peer_lost : cause::transport, rank, round,
          say({"diloco: nccl: ", what, ": ", ncclGetErrorString(code), more ? " (" : "", more ? detail : "",
               more ? ")" : ""})};
}

/// A communicator, the stream of its own that it works on, and what is on its way.
struct nccl_communicator {
  static constexpr double give_up_seconds = 2, finalize_seconds = 5;

  ncclComm_t handle = nullptr;
  bool owned = false;
  int rank = 0, size = 0;
  cudaStream_t stream = nullptr;
  cudaEvent_t ready = nullptr;  // recorded on other streams, and at the very end
  std::vector<cudaEvent_t> spare;
  std::deque<nccl_operation*> waiting;  // until NCCL has taken them: one in progress takes no second call
  std::optional<error> broken;          // the first failure; nothing is begun after it
  bool stopping = false, stoppable = true, quiet = false, aborts = false;
  std::shared_ptr<std::atomic<bool>> aborted = std::make_shared<std::atomic<bool>>(false);
  std::vector<int> roster;
  std::vector<std::array<int, 2>> pairs;  // this rank's with each

  nccl_communicator(ncclComm_t c, bool own, int r, int n) : handle(c), owned(own), rank(r), size(n) {
    for (int other = 0; other < n; ++other) {
      roster.push_back(other);
      pairs.push_back({std::min(r, other), std::max(r, other)});
    }
    int low = 0, high = 0;  // a round's few bytes should not queue behind sweeps
    check(cudaDeviceGetStreamPriorityRange(&low, &high), "cudaDeviceGetStreamPriorityRange", {});
    check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, high), "cudaStreamCreateWithPriority",
          {});
    check(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming), "cudaEventCreateWithFlags", {});
  }
  nccl_communicator(nccl_communicator const&) = delete;
  nccl_communicator& operator=(nccl_communicator const&) = delete;
  /// Neither aborts nor waits for long: what NCCL does not let go of is left behind, with its stream.
  ~nccl_communicator() {
    if (broken && !quiet) return;
    if (owned && !aborts) {
      if (!broken && !finalized()) return;
      ncclCommDestroy(handle);  // blocks on what is not finalized; this is, or was revoked
    }
    for (cudaEvent_t e : spare) cudaEventDestroy(e);
    cudaEventDestroy(ready);
    cudaStreamDestroy(stream);
  }

  /// Raises where the stream is captured; a later failure is the next exchange's.
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
  /// Gives NCCL what waits. An event behind a call stands only after NCCL's own thread has enqueued it.
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
  /// all_to_all is sends and receives like a pair's: NCCL has ncclAlltoAll from 2.28 only, and does the same
  /// in it.
  [[nodiscard]] ncclResult_t post(nccl_operation const& o) const {
    auto const [send, receive] = std::pair(o.memory.send.data(), o.memory.receive.data());
    std::size_t const bytes = o.memory.send.size();
    if (o.partner == with_everybody && !o.cut)
      return ncclAllGather(send, receive, bytes, ncclUint8, handle, stream);
    std::size_t const slot = o.cut ? bytes / static_cast<std::size_t>(size) : bytes;
    ncclResult_t code = ncclGroupStart();
    auto const keep = [&](ncclResult_t c) {
      if (code == ncclSuccess || code == ncclInProgress) code = c;
    };
    for (int peer = o.cut ? 0 : o.partner, last = o.cut ? size - 1 : peer; peer <= last; ++peer) {
      std::size_t const at = o.cut ? static_cast<std::size_t>(peer) * slot : 0;
      keep(ncclSend(send + at, slot, ncclUint8, peer, handle, stream));
      keep(ncclRecv(receive + at, slot, ncclUint8, peer, handle, stream));
    }
    keep(ncclGroupEnd());
    return code;
  }
  /// Whether it is over. Errors: the communicator is broken, and then so is what a revoked kernel left
  /// behind.
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
  /// As it is, and no longer the thread's last error: the next launch, of anybody, would report it again.
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

  /// Begins to take NCCL out of all buffers. Enqueues only; an abort may wait for ever, so a thread of its
  /// own does.
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
  /// True: NCCL and the stream are out of all buffers. False after `give_up_seconds`: nobody knows.
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

  [[nodiscard]] std::span<int const> roster_with(int partner) const {
    if (partner == with_everybody) return roster;
    return {pairs[static_cast<std::size_t>(partner)].data(),
            partner == rank ? std::size_t{1} : std::size_t{2}};
  }
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

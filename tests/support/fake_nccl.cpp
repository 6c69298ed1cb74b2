// SPDX-License-Identifier: Apache-2.0
#include "fake_nccl.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <tuple>

namespace {

using bytes = std::vector<unsigned char>;

struct transfer {
  int peer;
  void* data;  // const when it is sent
  std::size_t size;
  char channel;  // collectives and messages must not mix
};

struct world {
  int size = 0, joined = 0;
  std::map<std::tuple<int, int, char>, std::deque<bytes>> mail;  // from, to, channel
};

struct everything {
  std::recursive_mutex guard;
  fake::settings settings;
  fake::counts counts;
  std::vector<std::string> calls;
  std::map<std::string, world> worlds;
  std::list<std::unique_ptr<ncclComm>> communicators;  // kept after their end, to find later calls on them
  std::list<CUstream_st*> streams;
  std::list<CUevent_st*> events;
  int ids = 0;
};
everything& all() {
  static everything& e =
      *new everything;  // never freed: remaining objects are not leaks, and threads may outlive main
  return e;
}
using lock = std::lock_guard<std::recursive_mutex>;

}  // namespace

struct CUevent_st {
  std::uint64_t recorded = 0, reached = 0;
};
struct CUstream_st {
  std::deque<std::function<bool()>> tasks;  // returns true when done
  bool held = false, captured = false;
};
struct ncclComm {
  world* place = nullptr;
  int rank = 0, polls = 0;
  bool starting = true, revoked = false, stopped = false, finalized = false, dead = false, endless = false;
  ncclResult_t error = ncclSuccess;
  // finished when their polls return true
  std::vector<std::pair<cudaStream_t, std::function<bool()>>> waiting;
};

namespace {

void pump() {
  for (bool moved = true; moved;) {
    moved = false;
    for (CUstream_st* s : all().streams) {
      while (!s->held && !s->tasks.empty() && s->tasks.front()()) {
        s->tasks.pop_front();
        moved = true;
      }
    }
  }
}
/// The thread's last error: from a failed runtime call, or one that is not ready.
thread_local cudaError_t last_error = cudaSuccess;
cudaError_t left(cudaError_t code) {
  if (code != cudaSuccess) last_error = code;
  return code;
}
cudaError_t outcome(char const* name) {
  return left(all().settings.cuda_fails == name ? cudaErrorUnknown : cudaSuccess);
}
cudaError_t called(char const* name) {
  lock const l(all().guard);
  all().calls.emplace_back(name);
  return outcome(name);
}
bool misused(bool wrong) {
  if (wrong) all().counts.misuses += 1;
  return wrong;
}

struct group {
  int depth = 0;
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
  std::vector<transfer> sends, receives;
};
group& mine() {
  thread_local group g;
  return g;
}

/// The kernel. It sends once and ends when everything it receives has arrived. If a message has another size
/// than expected, it never ends.
std::function<bool()> kernel(group g) {
  return [g = std::move(g), sent = false]() mutable {
    if (g.comm->stopped) return true;
    auto& mail = g.comm->place->mail;
    for (transfer const& t : g.sends) {
      auto const* from = static_cast<unsigned char const*>(t.data);
      if (!sent) mail[{g.comm->rank, t.peer, t.channel}].emplace_back(from, from + t.size);
    }
    sent = true;
    for (transfer const& t : g.receives) {
      auto const& box = mail[{t.peer, g.comm->rank, t.channel}];
      if (box.empty() || box.front().size() != t.size) return false;
    }
    for (transfer const& t : g.receives) {
      auto& box = mail[{t.peer, g.comm->rank, t.channel}];
      std::memcpy(t.data, box.front().data(), t.size);
      box.pop_front();
    }
    return true;
  };
}

ncclResult_t state_of(ncclComm_t c) {
  if (c->error != ncclSuccess) return c->error;
  return c->polls > 0 || c->endless || c->starting ? ncclInProgress : ncclSuccess;
}
ncclResult_t launch(group g) {
  ncclComm_t const c = g.comm;
  cudaStream_t const stream = g.stream;
  c->polls = all().settings.in_progress;
  c->waiting.emplace_back(stream, kernel(std::move(g)));
  if (c->polls == 0) {
    stream->tasks.push_back(std::move(c->waiting.back().second));
    c->waiting.clear();
  }
  pump();
  return state_of(c);
}
ncclResult_t add(char const* name, ncclComm_t c, cudaStream_t stream, transfer const* send,
                 transfer const* receive) {
  called(name);
  if (all().settings.start != ncclSuccess) return all().settings.start;
  if (misused(c->dead || c->revoked || state_of(c) == ncclInProgress)) return ncclInvalidArgument;
  group& g = mine();
  g.comm = c, g.stream = stream;
  if (send != nullptr) g.sends.push_back(*send);
  if (receive != nullptr) g.receives.push_back(*receive);
  return g.depth > 0 ? ncclSuccess : launch(std::exchange(g, {}));
}

}  // namespace

namespace fake {

void reset(settings s) {
  lock const l(all().guard);
  all().settings = std::move(s);
  all().counts = {};
  all().calls.clear();
}
void set(settings s) {
  lock const l(all().guard);
  all().settings = std::move(s);
}
counts count() {
  lock const l(all().guard);
  return all().counts;
}
std::vector<std::string> calls() {
  lock const l(all().guard);
  return all().calls;
}
void fail(int rank, ncclResult_t code) {
  lock const l(all().guard);
  for (auto const& c : all().communicators) {
    if (c->rank == rank && !c->dead) c->error = code;
  }
}
cudaStream_t held_stream() {
  lock const l(all().guard);
  all().streams.push_back(new CUstream_st{{}, true, false});
  return all().streams.back();
}
void release(cudaStream_t stream) {
  lock const l(all().guard);
  stream->held = false;
  pump();
}
void destroy(cudaStream_t stream) {
  lock const l(all().guard);
  all().streams.remove(stream);
  delete stream;
}
void capture(cudaStream_t stream, bool captured) {
  lock const l(all().guard);
  stream->captured = captured;
}
ncclUniqueId unique_id() {
  ncclUniqueId id{};
  (void)ncclGetUniqueId(&id);
  return id;
}

}  // namespace fake

// NOLINTBEGIN: the names and signatures are NCCL's and CUDA's
extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  lock const l(all().guard);
  std::string const name = "world " + std::to_string(++all().ids);
  std::memcpy(id->internal, name.c_str(), name.size() + 1);
  return all().settings.unique_id;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* out, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  lock const l(all().guard);
  misused(config == nullptr || config->blocking != 0);
  auto& communicators = all().communicators;
  communicators.push_back(std::make_unique<ncclComm>());
  ncclComm_t const c = *out = communicators.back().get();
  c->place = &all().worlds[id.internal];
  c->rank = rank;
  c->place->size = size;
  c->error = all().settings.init;
  if (c->error != ncclSuccess) return c->error;
  c->place->joined += 1;
  c->polls = all().settings.in_progress;
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t* state) {
  lock const l(all().guard);
  if (misused(c->dead)) return ncclInvalidArgument;
  if (c->starting && c->place->joined == c->place->size) c->starting = false;
  if (c->polls > 0 && --c->polls == 0) {
    for (auto& [stream, task] : c->waiting) stream->tasks.push_back(std::move(task));
    c->waiting.clear();
    if (c->revoked) c->stopped = true, c->error = ncclSuccess;
  }
  pump();
  *state = state_of(c);
  return ncclSuccess;
}
ncclResult_t ncclCommCount(ncclComm_t const c, int* count) {
  lock const l(all().guard);
  *count = c->place->size;
  return ncclSuccess;
}
ncclResult_t ncclCommUserRank(ncclComm_t const c, int* rank) {
  lock const l(all().guard);
  *rank = c->rank;
  return ncclSuccess;
}
ncclResult_t ncclCommRevoke(ncclComm_t c, int) {
  lock const l(all().guard);
  all().counts.revokes += 1;
  misused(c->dead || c->revoked || c->finalized);
  if (all().settings.revoke != ncclSuccess) return all().settings.revoke;
  c->revoked = true;
  c->waiting.clear();
  c->polls = 1;
  c->endless = !all().settings.revoke_ends;
  if (c->endless) c->polls = 0;
  return ncclInProgress;
}
ncclResult_t ncclCommAbort(ncclComm_t c) {
  {
    lock const l(all().guard);
    all().counts.aborts += 1;
    misused(c->dead);
  }
  for (;; std::this_thread::sleep_for(std::chrono::milliseconds(1))) {
    lock const l(all().guard);
    if (!all().settings.abort_ends) continue;
    c->stopped = c->dead = true;
    pump();
    return ncclSuccess;
  }
}
ncclResult_t ncclCommFinalize(ncclComm_t c) {
  lock const l(all().guard);
  all().counts.finalizes += 1;
  misused(c->dead || c->revoked || state_of(c) == ncclInProgress);
  c->finalized = true;
  c->polls = all().settings.in_progress;
  c->endless = !all().settings.finalize_ends;
  return state_of(c);
}
ncclResult_t ncclCommDestroy(ncclComm_t c) {
  lock const l(all().guard);
  all().counts.destroys += 1;
  misused(c->dead || state_of(c) == ncclInProgress || !(c->finalized || c->stopped));
  c->dead = true;
  return ncclSuccess;
}
ncclResult_t ncclAllGather(void const* send, void* receive, std::size_t n, ncclDataType_t, ncclComm_t c,
                           cudaStream_t s) {
  lock const l(all().guard);
  group& g = mine();
  for (int r = 0; r < c->place->size; ++r) {
    g.sends.push_back({r, const_cast<void*>(send), n, 'g'});
    g.receives.push_back({r, static_cast<char*>(receive) + static_cast<std::size_t>(r) * n, n, 'g'});
  }
  ncclResult_t const code = add("ncclAllGather", c, s, nullptr, nullptr);
  if (code != ncclSuccess && code != ncclInProgress) g = {};
  return code;
}
ncclResult_t ncclSend(void const* data, std::size_t n, ncclDataType_t, int peer, ncclComm_t c,
                      cudaStream_t s) {
  lock const l(all().guard);
  transfer const t{peer, const_cast<void*>(data), n, 'm'};
  return add("ncclSend", c, s, &t, nullptr);
}
ncclResult_t ncclRecv(void* data, std::size_t n, ncclDataType_t, int peer, ncclComm_t c, cudaStream_t s) {
  lock const l(all().guard);
  transfer const t{peer, data, n, 'm'};
  return add("ncclRecv", c, s, nullptr, &t);
}
ncclResult_t ncclGroupStart() {
  mine().depth += 1;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  lock const l(all().guard);
  group g = std::exchange(mine(), {});
  if (misused(g.depth != 1)) return ncclInvalidUsage;
  return g.comm == nullptr ? ncclSuccess : launch(std::move(g));
}
char const* ncclGetErrorString(ncclResult_t code) {
  return code == ncclRemoteError    ? "remote process exited or there was a network error"
         : code == ncclSystemError  ? "unhandled system error"
         : code == ncclInvalidUsage ? "invalid usage"
         : code == ncclInProgress   ? "NCCL operation in progress"
                                    : "some NCCL error";
}
char const* ncclGetLastError(ncclComm_t) {
  lock const l(all().guard);
  return all().settings.last_error.c_str();
}

char const* cudaGetErrorString(cudaError_t) { return "some CUDA error"; }
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaDeviceGetStreamPriorityRange(int* low, int* high) {
  *low = 0, *high = -5;
  return called("cudaDeviceGetStreamPriorityRange");
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* out, unsigned flags, int priority) {
  lock const l(all().guard);
  if (cudaError_t const code = called("cudaStreamCreateWithPriority"); code != cudaSuccess) return code;
  misused(flags != cudaStreamNonBlocking || priority != -5);
  all().streams.push_back(*out = new CUstream_st);
  all().counts.streams += 1;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  lock const l(all().guard);
  misused(!stream->tasks.empty());
  fake::destroy(stream);
  all().counts.streams -= 1;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  lock const l(all().guard);
  *status = stream->captured ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return outcome("cudaStreamIsCapturing");
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* out, unsigned) {
  lock const l(all().guard);
  if (cudaError_t const code = called("cudaEventCreateWithFlags"); code != cudaSuccess) return code;
  all().events.push_back(*out = new CUevent_st);
  all().counts.events += 1;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  lock const l(all().guard);
  all().events.remove(event);
  delete event;
  all().counts.events -= 1;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  lock const l(all().guard);
  if (cudaError_t const code = called("cudaEventRecord"); code != cudaSuccess) return code;
  stream->tasks.push_back([event, at = ++event->recorded] {
    event->reached = std::max(event->reached, at);
    return true;
  });
  pump();
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  lock const l(all().guard);
  if (cudaError_t const code = outcome("cudaEventQuery"); code != cudaSuccess) return code;
  pump();
  return left(event->reached >= event->recorded ? cudaSuccess : cudaErrorNotReady);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  lock const l(all().guard);
  if (cudaError_t const code = called("cudaStreamWaitEvent"); code != cudaSuccess) return code;
  stream->tasks.push_back([event, at = event->recorded] { return event->reached >= at; });
  return cudaSuccess;
}

}  // extern "C"
// NOLINTEND

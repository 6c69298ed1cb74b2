// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/buffer.hpp>

#include <cstddef>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Memory of an executor, for code that is not a template: one virtual call for each use, none per element.
class memory_source {
 public:
  virtual ~memory_source() = default;
  /// Whether the host can read columns in place.
  [[nodiscard]] virtual bool columns_on_host() const = 0;
  /// 64-byte aligned and zeroed. Kernels see both; the host sees the second.
  [[nodiscard]] virtual buffer allocate(std::size_t bytes) const = 0;
  [[nodiscard]] virtual buffer allocate_shared(std::size_t bytes) const = 0;
  /// As `allocate`, or where the executor puts a column of this name.
  [[nodiscard]] virtual buffer allocate_column(std::string_view name, std::size_t bytes) const = 0;
  /// Whether `allocate_column` puts it on the host, although other columns lie on a device.
  [[nodiscard]] virtual bool places_on_host(std::string_view name) const = 0;
  /// Enqueue. Only where columns do not lie on the host.
  virtual void copy_to_host(void* to, void const* from, std::size_t bytes) const = 0;
  virtual void copy_from_host(void* to, void const* from, std::size_t bytes) const = 0;
  /// Waits for everything that was enqueued.
  virtual void wait() const = 0;
};

/// Memory that the host writes and kernels read. Where columns do not lie on the host there is a copy beside
/// them: a kernel that looked up the row of each tile in host memory would wait for the bus each time.
class mirrored {
 public:
  mirrored() = default;
  mirrored(memory_source const& where, std::size_t bytes)
      : host_(where.allocate_shared(bytes)),
        copy_(where.columns_on_host() ? buffer{} : where.allocate(bytes)) {}

  [[nodiscard]] std::byte* host() const { return host_.data(); }
  [[nodiscard]] std::byte* seen_by_kernels() const {
    return copy_.data() == nullptr ? host_.data() : copy_.data();
  }
  template <class T>
  [[nodiscard]] T* seen_as() const {
    return reinterpret_cast<T*>(seen_by_kernels());
  }
  [[nodiscard]] std::size_t bytes() const { return host_.size() + copy_.size(); }

  /// Enqueues the copy of what lies between two pointers into host(). The host may write there again once the
  /// executor was waited for.
  void upload(memory_source const& where, void const* from, void const* to) const {
    if (copy_.data() == nullptr) return;
    auto const first = static_cast<std::size_t>(static_cast<std::byte const*>(from) - host());
    auto const n =
        static_cast<std::size_t>(static_cast<std::byte const*>(to) - static_cast<std::byte const*>(from));
    if (n != 0) where.copy_from_host(copy_.data() + first, host() + first, n);
  }

 private:
  buffer host_, copy_;
};

/// Arrays that lie one behind the other in one allocation.
class array_layout {
 public:
  template <class T>
  class part {
   public:
    [[nodiscard]] T* in(std::byte* base) const { return reinterpret_cast<T*>(base + offset_); }

   private:
    friend class array_layout;
    explicit part(std::size_t offset) : offset_(offset) {}
    std::size_t offset_;
  };
  template <class T>
  part<T> add(std::size_t n) {
    std::size_t const at = (bytes_ + alignof(T) - 1) / alignof(T) * alignof(T);
    bytes_ = at + n * sizeof(T);
    return part<T>(at);
  }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_ = 0;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

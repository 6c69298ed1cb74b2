// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Move-only memory that an executor allocated, for state columns and messages. It knows how to free itself.
/// So a flight that outlives its trainer still owns the memory that the transport reads.
class buffer {
 public:
  using release_function = void (*)(std::byte*, std::size_t, void*) noexcept;

  buffer() = default;
  buffer(std::byte* data, std::size_t bytes, release_function release, void* context = nullptr)
      : data_(data), bytes_(bytes), release_(release), context_(context) {}
  buffer(buffer&& other) noexcept { swap(other); }
  buffer& operator=(buffer&& other) noexcept {
    buffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~buffer() {
    if (data_ != nullptr) release_(data_, bytes_, context_);
  }

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return bytes_; }
  [[nodiscard]] std::span<std::byte> bytes() const { return {data_, bytes_}; }
  template <class T>
  [[nodiscard]] T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  /// Gives up ownership without freeing. A transport needs this when it must abandon a request that it cannot
  /// cancel.
  void leak() { data_ = nullptr; }

 private:
  void swap(buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
    std::swap(context_, other.context_);
  }
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  release_function release_ = nullptr;
  void* context_ = nullptr;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/state/digest.hpp>
#include <diloco/state/memory_source.hpp>
#include <diloco/sweep/auxiliary_planes.hpp>
#include <diloco/sweep/copy.hpp>
#include <diloco/sweep/float_modes.hpp>
#include <diloco/sweep/gradient.hpp>
#include <diloco/sweep/message_headers.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
/// An executor, for code that is not a template: its memory, and the kernels that depend on no policy. Each
/// `for_each` enqueues one of them and costs one virtual call. Written out, because nvcc 13.0 takes minutes
/// for a class that inherits them from a list.
struct backend : memory_source {
  virtual void for_each(std::size_t n, adopt_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, average_planes_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, checksum_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, clip_factor_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, collect_headers_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, copy_messages_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, copy_to_anchor_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, digest_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, find_motion_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, find_non_finite_kernel<gradient_rows> const& kernel) const = 0;
  virtual void for_each(std::size_t n, find_non_finite_kernel<theta_rows> const& kernel) const = 0;
  virtual void for_each(std::size_t n, float_modes_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, norm_partials_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, plain_factor_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, sum_partials_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, write_headers_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, write_planes_kernel const& kernel) const = 0;
  virtual void for_each(std::size_t n, zero_kernel const& kernel) const = 0;
};

/// The executor must outlive it.
template <executor E>
class backend_on final : public backend {
 public:
  explicit backend_on(E const& where) : where_(where) {}
  bool columns_on_host() const override { return E::columns_on_host; }
  buffer allocate(std::size_t bytes) const override { return where_.allocate(bytes); }
  buffer allocate_shared(std::size_t bytes) const override { return where_.allocate_wire(bytes); }
  buffer allocate_column([[maybe_unused]] std::string_view name, std::size_t bytes) const override {
    if constexpr (E::traits.places_columns)
      return where_.allocate_column(name, bytes);
    else
      return where_.allocate(bytes);
  }
  bool places_on_host([[maybe_unused]] std::string_view name) const override {
    if constexpr (E::traits.places_columns)
      return !E::columns_on_host && where_.only_for_rounds(name);
    else
      return false;
  }
  void copy_to_host([[maybe_unused]] void* to, [[maybe_unused]] void const* from,
                    [[maybe_unused]] std::size_t bytes) const override {
    if constexpr (!E::columns_on_host) where_.copy_to_host(to, from, bytes);
  }
  void copy_from_host([[maybe_unused]] void* to, [[maybe_unused]] void const* from,
                      [[maybe_unused]] std::size_t bytes) const override {
    if constexpr (!E::columns_on_host) where_.copy_from_host(to, from, bytes);
  }
  void wait() const override { where_.wait(); }
  void for_each(std::size_t n, adopt_kernel const& kernel) const override { where_.for_each(n, kernel); }
  void for_each(std::size_t n, average_planes_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, checksum_kernel const& kernel) const override { where_.for_each(n, kernel); }
  void for_each(std::size_t n, clip_factor_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, collect_headers_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, copy_messages_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, copy_to_anchor_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, digest_kernel const& kernel) const override { where_.for_each(n, kernel); }
  void for_each(std::size_t n, find_motion_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, find_non_finite_kernel<gradient_rows> const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, find_non_finite_kernel<theta_rows> const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, float_modes_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, norm_partials_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, plain_factor_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, sum_partials_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, write_headers_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, write_planes_kernel const& kernel) const override {
    where_.for_each(n, kernel);
  }
  void for_each(std::size_t n, zero_kernel const& kernel) const override { where_.for_each(n, kernel); }

 private:
  E const& where_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/trainer/parts.hpp>

#include <memory>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Tells the peers why this rank cannot be constructed. Collective; waits for them. Its own failures are
/// dropped, because the caller has an error already, which came first.
template <class R>
DILOCO_COLD void tell_peers(R& r, std::string_view sentence) noexcept {
  double const seconds = r.deadline_seconds > 0 && r.deadline_seconds < 1e9 ? r.deadline_seconds : 300;
  static_cast<void>(
      guarded([](cause, std::string_view) { return error{}; },
              [&] {
                backend_on<typename R::executor_type> const where(r.executor);
                transport_link_over<typename R::transport_type, typename R::executor_type> const over(
                    r.transport, r.executor, where);
                refuse(over, sentence, contract_term_count, deadline_after(seconds));
              }));
}

/// All that this rank can find out alone; nothing is sent. On an error the recipe is the lender's again.
template <class R, class Parameters>
DILOCO_COLD result<std::unique_ptr<trainer_policies>> build_parts(R& r, Parameters const& parameters) {
  using Inner = typename R::inner_type;
  using C = typename R::compressor_type;
  int const rank = r.transport.rank();
  if (auto found = settings_error(r); !found.empty())
    return error{cause::bad_setting, rank, 0, std::move(found)};
  float_modes_seen const modes = float_modes_on(backend_on<typename R::executor_type>(r.executor));
  if (auto found = modes.validation_error(R::executor_type::name); !found.empty())
    return error{cause::bad_setting, rank, 0, std::move(found)};
  auto l = layout::of(parameters, C::block, staged_compressor<C>, passes<R>::residual_padding,
                      group_count_of<Inner>, group_roles<Inner>{r.inner},
                      static_cast<std::size_t>(r.schedule.fragments()), r.schedule.cut);
  if (!l) return error{l.error().what, rank, 0, l.error().message};
  if (auto found = inner_state<Inner>::validation_error(r.inner, *l); !found.empty())
    return error{cause::bad_layout, rank, 0, std::move(found)};
  std::unique_ptr<trainer_policies> parts(new trainer_parts<R>(r, std::move(*l), modes.all));
  auto& built = static_cast<trainer_parts<R>&>(*parts);
  if (auto fine = built.start(); !fine) return std::move(fine).error();
  built.keep();
  return parts;
}

/// Builds, and compares with the peers. Collective. Peers hear at once of what goes wrong here, and do not
/// wait for their deadline.
template <class R, class Parameters>
DILOCO_COLD result<std::unique_ptr<trainer_policies>> make_parts(R& r, Parameters const& parameters) {
  construction const how{
      &r, &parameters,
      [](void* of, void const* tensors) {
        return build_parts(*static_cast<R*>(of), *static_cast<Parameters const*>(tensors));
      },
      [](void* of, std::string_view sentence) noexcept { tell_peers(*static_cast<R*>(of), sentence); }};
  auto parts = construct(how);
  if (!parts) return parts;
  if (auto fine = static_cast<trainer_parts<R>&>(**parts).core.join(); !fine) return std::move(fine).error();
  return parts;
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

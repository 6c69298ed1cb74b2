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
DILOCO_COLD result<std::unique_ptr<trainer_parts<R>>> build_parts(R& r, Parameters const& parameters) {
  using Inner = typename R::inner_type;
  using C = typename R::compressor_type;
  int const rank = r.transport.rank();
  auto const refused = [&](cause why, std::string sentence) {
    return error{why, rank, 0, std::move(sentence)};
  };
  if (auto found = settings_error(r); !found.empty()) return refused(cause::bad_setting, std::move(found));
  float_modes_seen const modes = float_modes_on(backend_on<typename R::executor_type>(r.executor));
  if (auto found = modes.validation_error(R::executor_type::name); !found.empty())
    return refused(cause::bad_setting, std::move(found));
  auto l = layout::of(parameters, C::block, staged_compressor<C>, passes<R>::residual_padding,
                      group_count_of<Inner>, group_roles<Inner>{r.inner},
                      static_cast<std::size_t>(r.schedule.fragments()));
  if (!l) return refused(l.error().what, l.error().message);
  if (auto found = inner_state<Inner>::validation_error(r.inner, *l); !found.empty())
    return refused(cause::bad_layout, std::move(found));
  auto parts = std::make_unique<trainer_parts<R>>(r, std::move(*l), modes.all);
  if (auto fine = parts->start(); !fine) return std::move(fine).error();
  parts->keep();
  return parts;
}

/// As build_parts; peers hear at once of what goes wrong here, and do not wait for their deadline.
template <class R, class Parameters>
DILOCO_COLD result<std::unique_ptr<trainer_parts<R>>> build_or_tell(R& r, Parameters const& parameters) {
  auto const attempt = [&] {
    auto parts = build_parts(r, parameters);
    if (!parts) tell_peers(r, parts.error().message);
    return parts;
  };
#if DILOCO_EXCEPTIONS
  try {
    return attempt();
  } catch (std::exception const& e) {
    tell_peers(r, say({"its construction threw: ", e.what()}));
    throw;
  } catch (...) {
    tell_peers(r, "its construction threw an exception of unknown type");
    throw;
  }
#else
  return attempt();
#endif
}

/// Builds, and compares with the peers. Collective.
template <class R, class Parameters>
DILOCO_COLD result<std::unique_ptr<trainer_parts<R>>> make_parts(R& r, Parameters const& parameters) {
  auto parts = build_or_tell(r, parameters);
  if (!parts) return parts;
  if (auto fine = (*parts)->core.join(); !fine) return std::move(fine).error();
  return parts;
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

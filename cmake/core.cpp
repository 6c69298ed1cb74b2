// SPDX-License-Identifier: Apache-2.0
// The component `core`: everything in diloco that is not a template, and what every trainer over the executor cpp
// and the transports alone and threads shares, compiled once.
#include <diloco/diloco.hpp>
#include <diloco/snapshot.hpp>

#if DILOCO_HEADER_ONLY
#error "diloco: core.cpp belongs to the component core; build it with DILOCO_COMPILED_CORE=ON"
#endif

#include <diloco/core/field_definitions.hpp>
#include <diloco/core/text_definitions.hpp>
#include <diloco/inner/gradient_intake_definitions.hpp>
#include <diloco/round/agreement.hpp>
#include <diloco/round/eager.hpp>
#include <diloco/round/flight_definitions.hpp>
#include <diloco/round/landing.hpp>
#include <diloco/round/launch.hpp>
#include <diloco/round/round_table_definitions.hpp>
#include <diloco/state/columns_definitions.hpp>
#include <diloco/state/layout_definitions.hpp>
#include <diloco/state/lookup_table_definitions.hpp>
#include <diloco/state/run_state_definitions.hpp>
#include <diloco/state/snapshot_file_definitions.hpp>
#include <diloco/sweep/on_backend_definitions.hpp>
#include <diloco/trainer/core_definitions.hpp>
#include <diloco/trainer/snapshots_contents.hpp>
#include <diloco/trainer/snapshots_find.hpp>
#include <diloco/trainer/snapshots_resume.hpp>
#include <diloco/trainer/snapshots_save.hpp>
#include <diloco/transport/detail/late_definitions.hpp>
#include <diloco/transport/detail/thread_exchange_definitions.hpp>
#include <diloco/transport/detail/threads_definitions.hpp>
#include <diloco/wire/contract_definitions.hpp>
#include <diloco/wire/message_header_definitions.hpp>
#include <diloco/wire/plan_definitions.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
template class backend_on<cpp>;
template class exchange_over<alone, cpp>;
template class exchange_over<threads, cpp>;
template class transport_link_over<alone, cpp>;
template class transport_link_over<threads, cpp>;
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

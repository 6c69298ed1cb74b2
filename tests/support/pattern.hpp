// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/exchange/exchange.hpp>

/// An exchange that is chosen at run time, so that tests of all patterns share one type.
enum class pattern { gather, scatter_gather, pairs };

constexpr diloco::leg_list legs_of(pattern which, int ranks) {
  return which == pattern::gather           ? diloco::gather{}.legs(ranks)
         : which == pattern::scatter_gather ? diloco::scatter_gather{}.legs(ranks)
                                            : diloco::gossip{}.legs(ranks);
}

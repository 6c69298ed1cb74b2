// SPDX-License-Identifier: Apache-2.0
#include <diloco/core/config.hpp>

#if defined(__x86_64__) && !defined(__FMA__)
#error "DILOCO_ARCH did not reach the compiler"
#endif

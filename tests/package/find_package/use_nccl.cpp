// SPDX-License-Identifier: Apache-2.0
#include <diloco/diloco.hpp>
#include <diloco/transport/nccl.hpp>

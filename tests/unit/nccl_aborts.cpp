// SPDX-License-Identifier: Apache-2.0
#define DILOCO_NCCL_REVOKES 0
#include "nccl.cpp"

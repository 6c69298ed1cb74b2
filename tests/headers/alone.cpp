// SPDX-License-Identifier: Apache-2.0
// Compiled once per public header. The second include proves the guard.
#include DILOCO_HEADER
#include DILOCO_HEADER

int main() { return 0; }

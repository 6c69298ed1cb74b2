// SPDX-License-Identifier: Apache-2.0
// Compiled once per public header. The second include tests the include guard.
// With DILOCO_POLLUTED, headers that define short names as macros come first (I, B0, major, minor, unix in a
// gnu dialect). Then come the worst names of X11 and Qt.
#if defined(DILOCO_POLLUTED)
#include <complex.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/sysmacros.h>
#include <termios.h>
#if !defined(I)
#define I _Complex_I
#endif
#define None 0L
#define Status int
#define Bool int
#define True 1
#define False 0
#define Success 0
#define Always 2
#define Above 0
#define Below 1
#define emit
#define PI 3
#define ERROR 0
#define DEBUG 1
#define IN
#define OUT
#define TRUE 1
#define FALSE 0
#endif
#include DILOCO_HEADER
#include DILOCO_HEADER

int main() { return 0; }

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/version.hpp>

// Only this file tests compiler macros. Other files use the DILOCO_ macros that it defines.

#if __cplusplus < 202002L
#error "diloco: this is C++20; compile with -std=c++20 or later"
#endif

// Fast-math flags change results between ranks and hide NaN. nvcc defines no macro for -use_fast_math, so
// it stays undetected here.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ != 0) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error \
    "diloco: floating-point shortcuts change bits and hide NaN; compile this file without \
-ffast-math, -Ofast, -funsafe-math-optimizations, -ffinite-math-only, -fassociative-math, \
-freciprocal-math, -fno-signed-zeros"
#endif
// With 0 and 16 (float16_t) the compiler computes float as float. The x87 unit has −1, 1 and 2.
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16
#error \
    "diloco: float is computed in more than 32 bits here; compile with -msse2 -mfpmath=sse, not -mfpmath=387"
#endif
static_assert(sizeof(0.1) == sizeof(double), "diloco: compile without -fsingle-precision-constant");

#if defined(__CUDACC__)
#define DILOCO_HD __host__ __device__
#else
#define DILOCO_HD
// A host translation unit must not pull in the CUDA runtime only because the toolkit ships Thrust.
#if !defined(THRUST_DEVICE_SYSTEM)
#define THRUST_DEVICE_SYSTEM 4  // THRUST_DEVICE_SYSTEM_CPP
#endif
#endif

#if defined(__CUDA_ARCH__)
#define DILOCO_ON_DEVICE 1
#else
#define DILOCO_ON_DEVICE 0
#endif

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define DILOCO_EXCEPTIONS 1
#else
#define DILOCO_EXCEPTIONS 0
#endif

#define DILOCO_RESTRICT __restrict__

/// Marks host code outside kernels. g++ then optimizes it for size, so only kernels cost compile time at -O3.
#if defined(__GNUC__) && !defined(__CUDACC__)
#define DILOCO_COLD [[gnu::cold]]
#else
#define DILOCO_COLD
#endif

/// Marks functions that are neither templates nor kernels. Header-only builds make them inline. With
/// DILOCO_COMPILED_CORE (CMake component `core`), a library defines them and programs see only declarations.
#if defined(DILOCO_COMPILED_CORE)
#define DILOCO_CORE
#define DILOCO_HEADER_ONLY 0
#else
#define DILOCO_CORE inline
#define DILOCO_HEADER_ONLY 1
#endif

/// Marks a loop of exactly one vector. It keeps g++ from unrolling the loop into scalars that it then
/// shuffles together.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define DILOCO_ONE_VECTOR _Pragma("GCC unroll 1")
#else
#define DILOCO_ONE_VECTOR
#endif

/// In the body of a loop, keeps the loop scalar.
#if defined(__GNUC__) && !DILOCO_ON_DEVICE
#define DILOCO_NO_VECTOR asm volatile("")
#else
#define DILOCO_NO_VECTOR static_cast<void>(0)
#endif

/// Marks a path that few blocks take. On the host it is out of line, so that the common path keeps its
/// registers. On the device it is inlined, because a call would put its elements on the stack.
#if defined(__CUDACC__)
#define DILOCO_RARE
#else
#define DILOCO_RARE [[gnu::noinline]]
#endif

/// Marks code for the last, shorter block of a row. On the host it is compiled for size, out of line and
/// without vectors. A second vectorized copy of each kernel took a fifth of the compile time at -O3.
#if defined(__CUDACC__)
#define DILOCO_TAIL
#else
#define DILOCO_TAIL [[gnu::noinline, gnu::cold, gnu::flatten]]
#endif

/// Whether the compiler has built-in vector types and shuffles (g++ from 12, clang). They are used where no
/// loop compiles well, always beside a loop that gives the same bits.
#if !defined(__CUDACC__) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define DILOCO_VECTORS 1
#endif
#endif
#if !defined(DILOCO_VECTORS)
#define DILOCO_VECTORS 0
#endif

/// Whether a register holds eight floats, with one instruction to permute them and one to multiply and add.
#if DILOCO_VECTORS && defined(__AVX2__) && defined(__FMA__)
#define DILOCO_AVX2 1
#else
#define DILOCO_AVX2 0
#endif

/// How much is checked per step. Each level includes the one before.
#define DILOCO_CHECKS_NONE \
  0  ///< sizes, states, and every pseudo-gradient finite (free: found while encoding)
#define DILOCO_CHECKS_LIGHT 1  ///< + parameters finite at construction (one read sweep)
#define DILOCO_CHECKS_NORMAL \
  2  ///< + every gradient finite before anything is written (one read sweep, 4 B/param)
#define DILOCO_CHECKS_COLLECTIVE 3  ///< + digests of the anchor compared across ranks after every round
#if !defined(DILOCO_CHECKS)
#define DILOCO_CHECKS DILOCO_CHECKS_NORMAL
#endif

// Inline namespace of all declarations. Its name encodes the macros that change function bodies. Otherwise,
// files with different check levels would link to one definition (ODR violation).
#if DILOCO_CHECKS < DILOCO_CHECKS_NONE || DILOCO_CHECKS > DILOCO_CHECKS_COLLECTIVE
#error "diloco: DILOCO_CHECKS must be 0, 1, 2 or 3 (DILOCO_CHECKS_NONE, LIGHT, NORMAL or COLLECTIVE)"
#endif
#if DILOCO_CHECKS == DILOCO_CHECKS_NONE
#define DILOCO_NAMESPACE_OF(rest) v0_checks_none##rest
#elif DILOCO_CHECKS == DILOCO_CHECKS_LIGHT
#define DILOCO_NAMESPACE_OF(rest) v0_checks_light##rest
#elif DILOCO_CHECKS == DILOCO_CHECKS_NORMAL
#define DILOCO_NAMESPACE_OF(rest) v0##rest
#else
#define DILOCO_NAMESPACE_OF(rest) v0_checks_collective##rest
#endif
// nvcc's device pass and host pass must mangle alike, but only the host pass has exceptions.
#if DILOCO_EXCEPTIONS || defined(__CUDACC__)
#define DILOCO_NAMESPACE DILOCO_NAMESPACE_OF()
#else
#define DILOCO_NAMESPACE DILOCO_NAMESPACE_OF(_no_exceptions)
#endif

// This is at the end of the file. clang shows messages of a system header only after a line marker that ends
// it.
#if (defined(__x86_64__) || defined(__i386__)) && !defined(__FMA__) && !DILOCO_ON_DEVICE && \
    !defined(DILOCO_ALLOW_SLOW_FMA)
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpedantic"
# 158 "diloco/core/config.hpp"
#pragma clang diagnostic pop
#endif
#pragma message(                                                                       \
    "diloco: this target has no fused multiply-add, and steps take 30 times as long; " \
    "add -march=native or -march=x86-64-v3 (CMake: DILOCO_ARCH), or define DILOCO_ALLOW_SLOW_FMA")
#endif

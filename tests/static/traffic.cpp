// SPDX-License-Identifier: Apache-2.0 The traffic ledger. Bits per message and bytes of memory per
// parameter are constants of the types. The expected values here were computed by hand.
#include <diloco/diloco.hpp>

namespace {

using namespace diloco;

// Bits per parameter: codes, and four bytes of scale per block.
static_assert(wire_bits<f32> == 32 && wire_bits<f16> == 16 && wire_bits<bf16> == 16);
static_assert(wire_bits<absmax<8>> == 8 + 32.0 / 256 && wire_bits<absmax<8>> == 8.125);
static_assert(wire_bits<absmax<4, 256>> == 4.125 && wire_bits<absmax<4, 128>> == 4.25 &&
              wire_bits<absmax<8, 32>> == 9);
static_assert(wire_bits<sign<256>> == 1.125 && wire_bits<sign<512>> == 1.0625);
static_assert(wire_bits<absmax<2, 128>> == 2.25 && wire_bits<min_max<4>> == 4.5 &&
              wire_bits<scaled_f16<>> == 16.125);
static_assert(wire_bits<e4m3<>> == 8.125 && wire_bits<e2m1<>> == 4.5 && wire_bits<e3m0<>> == 4.25);
static_assert(wire_bits<mxfp8> == 8.25 && wire_bits<mxfp6> == 6.25 && wire_bits<mxfp4> == 4.25 &&
              wire_bits<nvfp4> == 4.5625);
static_assert(wire_bits<lloyd_max<3>> == 3.125 && wire_bits<lloyd_max<2, 512>> == 2.0625 &&
              wire_bits<natural<>> == 9);
static_assert(wire_bits<sign<256, sign_scale::vote>> == 1.0625 &&
              wire_bits<sign<256, sign_scale::two_means>> == 1.25);
static_assert(wire_bits<hadamard<32, absmax<4, 128>>> == wire_bits<absmax<4, 128>>);
static_assert(wire_bytes_per_parameter<absmax<8>> == 8.125 / 8);

// Sparse: 12 bits of index and 2 or 16 bits of value for each kept element.
static_assert(wire_bits<top_k<64>> == 0.21875 && wire_bits<top_k<128>> == 0.4375);
static_assert(wire_bits<top_k<64, kept_as::f16>> == 0.4375 && wire_bits<random_k<64>> == 0.5);
static_assert(wire_bits<statistical<16>> == 4 && wire_bits<low_rank<4>> == 0,
              "tables and factors are the tensor's");
// Sends both factors, or only the longer one. The matrix is sent as it is where that is not shorter.
using pair4 = low_rank<4>;
using common4 = low_rank<4, factors::common>;
static_assert(pair4::slice_bytes(100 * 60, 60) == 4 * 4 * 160 &&
              common4::slice_bytes(100 * 60, 60) == 4 * 4 * 100);
static_assert(common4::slice_bytes(60 * 100, 100) == 4 * 4 * 100 &&
              common4::slice_bytes(60 * 100, 1) == 4 * 6000);
static_assert(common4::slice_bytes(4 * 100, 100) == 1600 && common4::slice_bytes(100 * 4, 4) == 1600 &&
              common4::slice_bytes(5 * 100, 100) == 1600 && pair4::slice_bytes(5 * 100, 100) == 4 * 420);
static_assert(pair4::memory_elements(6000, 60) == 240 && common4::memory_elements(6000, 60) == 400 &&
              common4::memory_elements(400, 4) == 0 && common4::memory_elements(400, 1) == 0);
static_assert(encode_bytes<common4, mean_error_feedback> == 16 + 4 + 8 &&
              encode_bytes<pair4, error_feedback> == 16 + 8 + 8);
static_assert(tile_wire_bytes<top_k<64>>(4096) == 112 && tile_wire_bytes<top_k<128>>(4096) == 224);

// Inner step: reads g; reads and writes p and each slot.
static_assert(inner_step_bytes<adamw> == 28);
static_assert(inner_step_bytes<lion> == 20 && inner_step_bytes<sgd> == 20 &&
              inner_step_bytes<nesterov> == 20);
static_assert(inner_step_bytes<plain_sgd> == 12 && inner_step_bytes<lookahead> == 12);
static_assert(inner_step_bytes<schedule_free_adamw> == 28 && inner_step_bytes<delayed_nesterov> == 28);

// Sweep A: 16 + w with a residual, 8 + w without.
template <class C>
constexpr double w = wire_bytes_per_parameter<C>;
static_assert(encode_bytes<f16, error_feedback> == 16 + w<f16> && encode_bytes<bf16, error_feedback> == 18);
static_assert(encode_bytes<absmax<8>, error_feedback> == 16 + w<absmax<8>>);
static_assert(encode_bytes<absmax<4>, error_feedback> == 16 + w<absmax<4>>);
static_assert(encode_bytes<sign<>, error_feedback> == 16 + w<sign<>>);
static_assert(encode_bytes<absmax<4>, no_feedback> == 8 + w<absmax<4>>);
static_assert(encode_bytes<f32, error_feedback> == 12, "lossless: there is nothing to remember");
static_assert(carries_residual<absmax<4>, error_feedback> && !carries_residual<absmax<4>, no_feedback>);
static_assert(!carries_residual<f32, error_feedback>);

static_assert(encode_bytes<absmax<4>, averaged_error> == 10 + w<absmax<4>>, "the residual in 8 bits");
static_assert(encode_bytes<absmax<4>, ef21> == 16 + w<absmax<4>>);
static_assert(encode_bytes<top_k<64, kept_as::f16>, error_feedback> == 16 + w<top_k<64, kept_as::f16>>);
static_assert(encode_bytes<top_k<64>, error_feedback> == 16 + 8 + w<top_k<64>>);
static_assert(encode_bytes<statistical<16>, error_feedback> == 16 + 4 + 8 + 0.5);
static_assert(encode_bytes<random_k<64>, no_feedback> == 8 + 8 + w<random_k<64>>);

// Sweep B: 20 + K·w with Nesterov; each slot of the outer optimizer costs 8.
static_assert(apply_outer_bytes<f32, nesterov>(2) == 20 + 2 * 4);
static_assert(apply_outer_bytes<absmax<4>, nesterov>(8) == 20 + 8 * w<absmax<4>>);
static_assert(apply_outer_bytes<sign<>, nesterov>(1) == 20 + w<sign<>>);
static_assert(apply_outer_bytes<f32, plain_sgd>(1) == 12 + 4 && apply_outer_bytes<f32, adamw>(1) == 28 + 4);

static_assert(apply_outer_bytes<absmax<4>, nesterov, ef21>(2) == 28 + 2 * w<absmax<4>>);
static_assert(apply_outer_bytes<random_k<64>, nesterov, mean_error_feedback>(2) == 36 + 2 * w<random_k<64>>);
static_assert(apply_outer_bytes<random_k<64>, nesterov>(2) == 28 + 2 * w<random_k<64>>);

static_assert(apply_outer_bytes<f32, noloco>(2) == 24 + 2 * 4, "the mean anchor is read");

// The owner's part of scatter–gather does not grow with K.
static_assert(combine_bytes<f32, error_feedback>(4) == 4 + 4.0 / 4);
static_assert(combine_bytes<absmax<8>, error_feedback>(4) == w<absmax<8>> + (8 + w<absmax<8>>) / 4);
static_assert(combine_bytes<absmax<8>, mean_error_feedback>(4) == combine_bytes<absmax<8>, no_feedback>(4));
static_assert(combine_bytes<absmax<8>, no_feedback>(2) == w<absmax<8>> * 1.5);
}  // namespace

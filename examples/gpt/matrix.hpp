// SPDX-License-Identifier: Apache-2.0
// Row-major views of plain memory. Every product of two matrices in this example goes through Eigen.
#pragma once

#include <Eigen/Core>

#include <vector>

namespace gpt {

// Memory aligned to cache lines. Eigen sums a row from its first aligned element on. With other alignments,
// two runs of the same program would differ in the last bits.
template <class Real>
using array = std::vector<Real, Eigen::aligned_allocator<Real>>;

template <class Real>
using matrix = Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using stride = Eigen::OuterStride<>;

template <class Real>
using view = Eigen::Map<matrix<Real>>;
template <class Real>
using const_view = Eigen::Map<matrix<Real> const>;
template <class Real>
using strided_view = Eigen::Map<matrix<Real>, 0, stride>;
template <class Real>
using const_strided_view = Eigen::Map<matrix<Real> const, 0, stride>;

template <class Real>
using row_view = Eigen::Map<Eigen::Array<Real, 1, Eigen::Dynamic>>;
template <class Real>
using const_row_view = Eigen::Map<Eigen::Array<Real, 1, Eigen::Dynamic> const>;

}  // namespace gpt

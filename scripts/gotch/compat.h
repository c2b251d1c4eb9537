// Lets gotch v0.9.1, whose C++ was generated for libtorch 2.1, compile against later ones.
//
// Force-included before gotch's sources by CGO_CXXFLAGS (scripts/env). Three functions have changed their signatures
// since 2.1; each gets an overload in namespace torch with the old one. The library's own overloads stay visible.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/_cslt_sparse_mm.h>
#include <ATen/ops/_scaled_mm.h>
#include <torch/version.h>

#include <tuple>

#define GONATTEN_TORCH_AT_LEAST(major, minor) \
  (TORCH_VERSION_MAJOR > (major) || (TORCH_VERSION_MAJOR == (major) && TORCH_VERSION_MINOR >= (minor)))

namespace torch {

#if GONATTEN_TORCH_AT_LEAST(2, 2)
// 2.2 put alpha and out_dtype before transpose_result.
using at::_cslt_sparse_mm;
inline at::Tensor _cslt_sparse_mm(const at::Tensor& compressed_a, const at::Tensor& dense_b, const at::Tensor& bias,
                                  bool transpose_result) {
  return at::_cslt_sparse_mm(compressed_a, dense_b, bias, {}, {}, transpose_result);
}
#endif

#if GONATTEN_TORCH_AT_LEAST(2, 5)
// 2.5 no longer computes the largest magnitude, the second result that gotch hands out: there is nothing to forward to.
// OutDtype is the optional of that libtorch, which gotch passes.
using at::_scaled_mm;
using at::_scaled_mm_out;

template <typename OutDtype>
std::tuple<at::Tensor, at::Tensor> _scaled_mm(const at::Tensor&, const at::Tensor&, const at::Tensor&, OutDtype,
                                              const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  TORCH_CHECK(false, "gotch v0.9.1: _scaled_mm returns no amax since libtorch 2.5");
}

template <typename OutDtype>
std::tuple<at::Tensor, at::Tensor> _scaled_mm_out(at::Tensor&, at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                  const at::Tensor&, OutDtype, const at::Tensor&, const at::Tensor&,
                                                  const at::Tensor&) {
  TORCH_CHECK(false, "gotch v0.9.1: _scaled_mm_out returns no amax since libtorch 2.5");
}
#endif

}  // namespace torch

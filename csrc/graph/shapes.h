// Runs operators on shapes alone: no data, no arithmetic, no memory.
//
// While a ShapesOnly lives, every operator called on its thread gets, for each
// tensor with data, a stand-in on the meta device with the same sizes and
// strides. The caller's tensors are only looked at: parameters keep their
// values, buffers are not updated, several threads may count one model.
//
// Tensors made by the computation itself without any input (masks, index
// tables) stay real as long as they meet only their like, because operators may
// need their values.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <unordered_map>

#include "recorder.h"

namespace natten::graph {

class ShapesOnly {
 public:
  explicit ShapesOnly(Recorder& recorder);
  ~ShapesOnly();
  ShapesOnly(const ShapesOnly&) = delete;
  ShapesOnly& operator=(const ShapesOnly&) = delete;

  // The one of the calling thread, or nullptr.
  static ShapesOnly* current();

  // One operator on its arguments, which the stack ends with.
  void run(const c10::OperatorHandle& op, torch::jit::Stack* stack);

 private:
  bool is_constant(const at::Tensor& t) const;
  bool all_constant(at::ArrayRef<c10::IValue> values) const;
  void remember_constants(at::ArrayRef<c10::IValue> results);
  at::Tensor stand_in(const at::Tensor& t);
  void run_on_stand_ins(const c10::OperatorHandle& op, torch::jit::Stack* stack);
  void run_on_zeros(const c10::OperatorHandle& op, torch::jit::Stack* stack);

  Recorder& recorder_;
  std::unordered_map<const c10::TensorImpl*, at::Tensor> constants_;
  struct Pair {
    at::Tensor real, meta;
  };
  std::unordered_map<const c10::TensorImpl*, Pair> stand_ins_;
};

// While it lives, operators on this thread work on the tensors they are given:
// for moving bytes in and out.
class ForReal {
 public:
  ForReal();

 private:
  c10::impl::ExcludeDispatchKeyGuard outside_;
};

// While enabled on the calling thread, operators that make floating-point
// tensors out of nothing (zeros, full, randn) make them on the meta device, so
// that a model can be built without memory for its parameters. Tensors filled
// from memory must be integers then.
void set_make_on_meta(bool enabled);

// Computes an operator's results from shapes; the stack ends with its `count`
// arguments and afterwards with its results.
using ShapeFunction = void (*)(torch::jit::Stack*, size_t count);

// libtorch's C++ part lacks shape-only kernels for some operators (in Python
// they are written in Python). These are ours; nullptr for any other operator.
ShapeFunction shape_function(const c10::OperatorName& op);

}  // namespace natten::graph

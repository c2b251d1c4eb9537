#include "shapes.h"

#include <ATen/EmptyTensor.h>
#include <ATen/Functions.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>
#include <torch/version.h>

#include <algorithm>

namespace natten::graph {
namespace {

using c10::IValue;
using torch::jit::Stack;

// A dispatch key that nothing else claims and that comes before all others, so
// that operators are met as they are called: linear, not its parts.
constexpr auto kKey = c10::DispatchKey::TESTING_ONLY_GenericMode;

thread_local ShapesOnly* t_current = nullptr;
thread_local bool t_make_on_meta = false;

void make_on_meta(const c10::OperatorHandle& op, Stack* stack);

void on_operator(const c10::OperatorHandle& op, Stack* stack) {
  c10::impl::ExcludeDispatchKeyGuard inside(kKey);
  if (t_make_on_meta) make_on_meta(op, stack);
  if (ShapesOnly* mode = ShapesOnly::current()) {
    mode->run(op, stack);
  } else {
    op.callBoxed(stack);
  }
}

void update_key() { c10::impl::tls_set_dispatch_key_included(kKey, t_current != nullptr || t_make_on_meta); }

template <typename F>
void each_tensor(const IValue& value, const F& f) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) f(value.toTensor());
  } else if (value.isTensorList() || value.isOptionalTensorList()) {
    for (const auto& item : value.toListRef()) each_tensor(item, f);
  }
}

// The value with every tensor replaced by f of it.
template <typename F>
IValue map_tensors(const IValue& value, const F& f) {
  if (value.isTensor()) return value.toTensor().defined() ? IValue(f(value.toTensor())) : value;
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const auto& t : value.toTensorVector()) list.push_back(t.defined() ? f(t) : t);
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::impl::GenericList list(c10::OptionalType::ofTensor());
    for (const auto& item : value.toListRef()) {
      list.push_back(item.isTensor() && item.toTensor().defined() ? IValue(f(item.toTensor())) : item);
    }
    return list;
  }
  return value;
}

// Whoever asks a tensor without data for its address gets an exception, not nullptr.
void forbid_reading(const at::Tensor& t) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 2  // new in 2.2
  if (t.is_meta() && t.has_storage()) t.storage().unsafeGetStorageImpl()->set_throw_on_mutable_data_ptr();
#endif
}

at::Tensor meta_like(const at::Tensor& t) {
  at::Tensor meta(at::detail::empty_strided_meta(t.sizes(), t.strides(), t.scalar_type()));
  forbid_reading(meta);
  return meta;
}

// Scalars that became tensors take part in type promotion in their own way and
// mix with any device; formats without strides have no stand-in.
bool stays(const at::Tensor& t) {
  return t.is_meta() || t.unsafeGetTensorImpl()->is_wrapped_number() || t.layout() != at::kStrided || t.is_nested() ||
         t.is_quantized();
}

void move_device_arguments(const c10::FunctionSchema& schema, Stack* stack, c10::Device device) {
  const auto& arguments = schema.arguments();
  for (size_t i = 0; i < arguments.size(); i++) {
    IValue& value = torch::jit::peek(*stack, i, arguments.size());
    if (value.isDevice()) IValue(device).swap(value);
  }
}

// Sends an operator that makes a floating-point tensor out of nothing to the
// meta device.
void make_on_meta(const c10::OperatorHandle& op, Stack* stack) {
  const auto& arguments = op.schema().arguments();
  bool floating = at::isFloatingType(c10::typeMetaToScalarType(c10::get_default_dtype()));
  int64_t device = -1;
  for (size_t i = 0; i < arguments.size(); i++) {
    const IValue& value = torch::jit::peek(*stack, i, arguments.size());
    if (value.isTensor() || value.isTensorList()) return;
    if (arguments[i].name() == "dtype" && value.isInt()) {
      floating = at::isFloatingType(static_cast<at::ScalarType>(value.toInt()));
    }
    if (arguments[i].name() == "device") device = static_cast<int64_t>(i);
  }
  if (floating && device >= 0) IValue(c10::Device(c10::kMeta)).swap(torch::jit::peek(*stack, device, arguments.size()));
}

}  // namespace

ForReal::ForReal() : outside_(kKey) {}

void set_make_on_meta(bool enabled) {
  t_make_on_meta = enabled;
  update_key();
}

ShapesOnly* ShapesOnly::current() { return t_current; }

ShapesOnly::ShapesOnly(Recorder& recorder) : recorder_(recorder) {
  TORCH_CHECK(t_current == nullptr, "this thread runs on shapes already");
  t_current = this;
  update_key();
}

ShapesOnly::~ShapesOnly() {
  t_current = nullptr;
  update_key();
}

bool ShapesOnly::is_constant(const at::Tensor& t) const {
  return t.unsafeGetTensorImpl()->is_wrapped_number() || constants_.count(t.unsafeGetTensorImpl()) > 0;
}

bool ShapesOnly::all_constant(at::ArrayRef<IValue> values) const {
  bool constant = true;
  for (const auto& value : values) {
    each_tensor(value, [&](const at::Tensor& t) { constant = constant && is_constant(t); });
  }
  return constant;
}

void ShapesOnly::remember_constants(at::ArrayRef<IValue> results) {
  for (const auto& value : results) {
    each_tensor(value, [&](const at::Tensor& t) {
      if (!t.is_meta()) constants_.emplace(t.unsafeGetTensorImpl(), t);
    });
  }
}

at::Tensor ShapesOnly::stand_in(const at::Tensor& t) {
  if (stays(t)) return t;
  auto& pair = stand_ins_[t.unsafeGetTensorImpl()];
  if (!pair.meta.defined() || pair.meta.sizes() != t.sizes() || pair.meta.scalar_type() != t.scalar_type()) {
    pair = {t, meta_like(t)};
    recorder_.name_like(pair.meta, t);
  }
  return pair.meta;
}

void ShapesOnly::run(const c10::OperatorHandle& op, Stack* stack) {
  const auto& schema = op.schema();
  const auto arguments = torch::jit::last(*stack, schema.arguments().size());
  if (all_constant(arguments)) {
    op.callBoxed(stack);
    remember_constants(torch::jit::last(*stack, schema.returns().size()));
    return;
  }
  // What gets written to has no known value afterwards.
  for (size_t i = 0; i < arguments.size(); i++) {
    const auto* alias = schema.arguments()[i].alias_info();
    if (alias != nullptr && alias->isWrite()) {
      each_tensor(arguments[i], [&](const at::Tensor& t) { constants_.erase(t.unsafeGetTensorImpl()); });
    }
  }
  run_on_stand_ins(op, stack);
  for (const IValue& result : torch::jit::last(*stack, schema.returns().size())) each_tensor(result, forbid_reading);
}

void ShapesOnly::run_on_stand_ins(const c10::OperatorHandle& op, Stack* stack) {
  const auto& schema = op.schema();
  const size_t count = schema.arguments().size();
  const Stack original(stack->end() - count, stack->end());
  for (size_t i = 0; i < count; i++) {
    IValue& value = torch::jit::peek(*stack, i, count);
    value = map_tensors(value, [&](const at::Tensor& t) { return stand_in(t); });
  }
  move_device_arguments(schema, stack, c10::Device(c10::kMeta));
  if (const auto shapes = shape_function(op.operator_name())) {
    shapes(stack, count);
    return;
  }
  const int64_t mark = recorder_.size();
  const size_t below = stack->size() - count;
  try {
    op.callBoxed(stack);
  } catch (const c10::NotImplementedError&) {
    recorder_.forget(mark);
    stack->resize(below);
    for (const IValue& value : original) stack->push_back(value);
    run_on_zeros(op, stack);
  }
}

// The last resort: the operator computes, on the CPU and on zeros, and its
// results give their shapes. Not where the shapes depend on the values.
void ShapesOnly::run_on_zeros(const c10::OperatorHandle& op, Stack* stack) {
  const auto& schema = op.schema();
  const size_t count = schema.arguments().size();
  TORCH_CHECK(!op.hasTag(at::Tag::dynamic_output_shape) && !op.hasTag(at::Tag::data_dependent_output), schema.name(),
              ": its result depends on values, not on shapes alone");
  const int64_t mark = recorder_.size();  // what follows is no part of the computation
  Stack given;
  for (size_t i = 0; i < count; i++) {
    IValue& value = torch::jit::peek(*stack, i, count);
    given.push_back(map_tensors(value, [&](const at::Tensor& t) { return stand_in(t); }));
    value = map_tensors(value, [&](const at::Tensor& t) {
      if (is_constant(t) || (stays(t) && !t.is_meta())) return t;
      return at::zeros(t.sizes(), at::TensorOptions().dtype(t.scalar_type()));
    });
  }
  move_device_arguments(schema, stack, c10::Device(c10::kCPU));
  recorder_.mark(current_node(), kComputed);
  op.callBoxed(stack);
  recorder_.forget(mark);
  const auto& returns = schema.returns();
  for (size_t i = 0; i < returns.size(); i++) {
    IValue& result = torch::jit::peek(*stack, i, returns.size());
    const auto* alias = returns[i].alias_info();
    if (alias != nullptr && alias->isWrite()) {  // an argument comes back
      for (size_t j = 0; j < count; j++) {
        const auto* other = schema.arguments()[j].alias_info();
        if (other != nullptr && *other == *alias) result = given[j];
      }
    } else {
      result = map_tensors(result, [](const at::Tensor& t) { return meta_like(t); });
    }
  }
}

}  // namespace natten::graph

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericMode, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&natten::graph::on_operator>());
}

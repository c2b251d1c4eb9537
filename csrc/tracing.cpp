// TorchScript tracing. libtorch's own tracing of custom operators refuses lists
// of booleans, which is_causal is; this records them as constants. The traced
// module runs wherever libnatten is loaded.
#include <ATen/TracerMode.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/library.h>

namespace natten {
namespace {

namespace jit = torch::jit;
using c10::IValue;

// One argument becomes an input of the node: a traced tensor, or a constant.
void record(jit::Graph& graph, jit::Node* node, const IValue& value) {
  if (value.isTensor()) {
    node->addInput(jit::tracer::getValueTrace(value));
  } else if (value.isTensorList()) {
    jit::tracer::addInputs(node, "tensors", value.toTensorVector());
  } else {
    node->addInput(graph.insertConstant(value));
  }
}

void trace(const c10::OperatorHandle& op, jit::Stack* stack) {
  if (!jit::tracer::isTracing()) {
    at::tracer::impl::NoTracerDispatchMode guard;
    op.callBoxed(stack);
    return;
  }
  const auto& schema = op.schema();
  jit::Graph& graph = *jit::tracer::getTracingState()->graph;
  jit::Node* node = graph.create(c10::Symbol::fromQualString(schema.name()), /*num_outputs=*/0);
  jit::tracer::recordSourceLocation(node);
  for (const IValue& value : jit::last(*stack, schema.arguments().size())) {
    record(graph, node, value);
  }
  graph.insertNode(node);
  {
    at::tracer::impl::NoTracerDispatchMode guard;
    op.callBoxed(stack);
  }
  for (const IValue& value : jit::last(*stack, schema.returns().size())) {
    jit::tracer::addOutput(node, value.toTensor());
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(natten, Tracer, m) {
  for (const char* op : {"na", "na_lse", "na_qk", "na_av", "na_varlen", "merge_attentions"}) {
    m.impl(op, torch::CppFunction::makeFromBoxedFunction<&trace>());
  }
}

}  // namespace natten

// TorchScript files: load, name their parameters, run them while somebody records.
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include "../capi/guard.h"
#include "../capi/trace.h"

using natten::capi::guard;
using natten::capi::tensor;
using natten::capi::Trace;

char* natten_script_load(const char* file, natten_script* script) {
  *script = nullptr;
  return guard([&] {
    auto module = std::make_unique<torch::jit::Module>(torch::jit::load(file, c10::Device(c10::kCPU)));
    module->eval();
    *script = module.release();
  });
}

void natten_script_free(natten_script script) { delete static_cast<torch::jit::Module*>(script); }

char* natten_script_name(natten_script script, natten_trace trace, int64_t** words) {
  return guard([&] {
    const auto& module = *static_cast<torch::jit::Module*>(script);
    auto& recorder = static_cast<Trace*>(trace)->recorder();
    std::vector<std::string> names;
    std::vector<int64_t> facts;
    const auto add = [&](const std::string& name, const at::Tensor& t, bool buffer) {
      recorder.name(t, name);
      names.push_back(name);
      facts.insert(facts.end(), {t.numel(), buffer});
    };
    for (const auto& p : module.named_parameters()) add(p.name, p.value, false);
    for (const auto& b : module.named_buffers()) add(b.name, b.value, true);
    std::vector<int64_t> flat;
    natten::graph::write_strings(flat, names);
    flat.insert(flat.end(), facts.begin(), facts.end());
    *words = natten::capi::hand_over(flat);
  });
}

char* natten_script_run(natten_script script, const natten_tensor* inputs, int64_t count) {
  return guard([&] {
    // Operator by operator as written: no fusion, no profiling runs.
    torch::jit::GraphOptimizerEnabledGuard as_written(false);
    std::vector<c10::IValue> arguments;
    for (int64_t i = 0; i < count; i++) arguments.emplace_back(tensor(inputs[i]));
    static_cast<torch::jit::Module*>(script)->forward(std::move(arguments));
  });
}

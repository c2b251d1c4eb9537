// A computation made from Go as a TorchScript module: what runs between
// natten_export_begin and natten_export_end is traced, with a model's
// parameters as the module's own, and saved.
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/normalize_ops.h>
#include <torch/csrc/jit/serialization/export.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include "guard.h"

namespace natten::capi {
namespace {

namespace jit = torch::jit;

class Export {
 public:
  Export() : unit_(std::make_shared<jit::CompilationUnit>()), root_(make("")) {}
  ~Export() { stop(); }

  // Starts the trace. Tensors that are neither among the parameters nor derived
  // from them or the input become constants.
  void begin(const std::vector<std::string>& names, const std::vector<at::Tensor>& tensors, const at::Tensor& input) {
    TORCH_CHECK(!jit::tracer::isTracing(), "an export is under way on this thread");
    state_ = std::make_shared<jit::tracer::TracingState>();
    state_->lookup_var_name_fn = [](const at::Tensor&) { return std::string(); };
    self_ = state_->graph->insertInput(0, "self");
    for (size_t i = 0; i < names.size(); i++) add(names[i], tensors[i]);
    self_->setType(root_.type());
    for (size_t i = 0; i < names.size(); i++) {
      const auto [path, leaf] = split(names[i]);
      state_->setValue(tensors[i], state_->graph->insertGetAttr(value(path), leaf));
    }
    jit::Value* image = state_->graph->addInput("images");
    image->setType(c10::TensorType::get());
    state_->setValue(input, image);
    jit::tracer::setTracingState(state_);
  }

  // Ends the trace with its result and saves the module, `text` beside it as an
  // extra file of that name.
  void end(const at::Tensor& output, const std::string& path, const std::string& name, const std::string& text) {
    TORCH_CHECK(state_ != nullptr, "the export has ended");
    const auto graph = state_->graph;
    graph->registerOutput(state_->getOutput(output, 0));
    stop();
    jit::NormalizeOps(graph);
    jit::EliminateDeadCode(graph);
    graph->lint();
    const c10::QualifiedName method(*root_.type()->name(), "forward");
    root_.type()->addMethod(unit_->create_function(method, graph));
    write(path, {{name, text}});
  }

  void stop() {
    if (state_ == nullptr) return;
    if (jit::tracer::getTracingState() == state_) jit::tracer::setTracingState(nullptr);
    state_.reset();
    values_.clear();
  }

 private:
  // libtorch's writer ends the process when it cannot write: its destructor
  // throws. So it is told that all is well, and what went wrong comes afterwards.
  void write(const std::string& path, const jit::ExtraFilesMap& extra) {
    errno = 0;
    std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "wb"), std::fclose);
    TORCH_CHECK(file != nullptr, path, ": ", std::strerror(errno));
    int failure = 0;
    const auto check = [&](bool well) {
      if (!well && failure == 0) failure = errno == 0 ? EIO : errno;
    };
    jit::ExportModule(
        root_,
        [&](const void* data, size_t size) {
          if (failure == 0) check(std::fwrite(data, 1, size, file.get()) == size);
          return size;
        },
        extra);
    check(std::fclose(file.release()) == 0);
    TORCH_CHECK(failure == 0, std::strerror(failure));
  }

  static std::pair<std::string, std::string> split(const std::string& name) {
    const size_t dot = name.rfind('.');
    if (dot == std::string::npos) return {"", name};
    return {name.substr(0, dot), name.substr(dot + 1)};
  }

  jit::Module make(const std::string& path) {
    std::string type = path.empty() ? "Model" : path;
    std::replace(type.begin(), type.end(), '.', '_');
    jit::Module module(c10::QualifiedName("__torch__.natten." + type), unit_);
    module.register_attribute("training", c10::BoolType::get(), false);  // what Python's eval() sets
    return module;
  }

  // The submodule at a path, made with those above it where it is new.
  jit::Module& module(const std::string& path) {
    if (path.empty()) return root_;
    const auto found = modules_.find(path);
    if (found != modules_.end()) return found->second;
    const auto [parent, name] = split(path);
    jit::Module made = make(path);
    module(parent).register_module(name, made);
    return modules_.emplace(path, made).first->second;
  }

  void add(const std::string& name, const at::Tensor& tensor) {
    const auto [path, leaf] = split(name);
    module(path).register_parameter(leaf, tensor, /*is_buffer=*/!tensor.is_floating_point());
  }

  // The graph's value of a submodule.
  jit::Value* value(const std::string& path) {
    if (path.empty()) return self_;
    const auto found = values_.find(path);
    if (found != values_.end()) return found->second;
    const auto [parent, name] = split(path);
    return values_.emplace(path, state_->graph->insertGetAttr(value(parent), name)).first->second;
  }

  std::shared_ptr<jit::CompilationUnit> unit_;
  jit::Module root_;
  std::map<std::string, jit::Module> modules_;
  std::shared_ptr<jit::tracer::TracingState> state_;
  jit::Value* self_ = nullptr;
  std::map<std::string, jit::Value*> values_;
};

}  // namespace
}  // namespace natten::capi

using natten::capi::Export;
using natten::capi::guard;
using natten::capi::tensor;

char* natten_export_begin(const char* names, const natten_tensor* tensors, int64_t count, natten_tensor input,
                          natten_export* handle) {
  *handle = nullptr;
  return guard([&] {
    std::vector<std::string> list;
    std::istringstream lines(names);
    for (std::string line; std::getline(lines, line);) list.push_back(line);
    TORCH_CHECK(static_cast<int64_t>(list.size()) == count, list.size(), " names for ", count, " tensors");
    std::vector<at::Tensor> parameters;
    for (int64_t i = 0; i < count; i++) parameters.push_back(tensor(tensors[i]));
    auto made = std::make_unique<Export>();
    made->begin(list, parameters, tensor(input));
    *handle = made.release();
  });
}

char* natten_export_end(natten_export handle, natten_tensor output, const char* path, const char* name,
                        const char* text) {
  return guard([&] {
    std::unique_ptr<Export> made(static_cast<Export*>(handle));
    if (output != nullptr) made->end(tensor(output), path, name, text);
  });
}

#include "recorder.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <cstring>

#include "../natten.h"

namespace natten::graph {
namespace {

// libtorch has no kind for others' own information; these two are spare.
constexpr auto kKind = c10::DebugInfoKind::TEST_INFO_2;

thread_local int64_t t_node = -1;

struct Open : at::ObserverContext {
  int64_t node, outer;
};

std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction& fn) {
  Recorder* recorder = Recorder::current();
  if (recorder == nullptr) return nullptr;
  auto open = std::make_unique<Open>();
  open->outer = t_node;
  open->node = t_node = recorder->begin(fn, t_node);
  return open;
}

void on_end(const at::RecordFunction& fn, at::ObserverContext* context) {
  auto* open = static_cast<Open*>(context);
  if (open == nullptr) return;
  t_node = open->outer;
  if (Recorder* recorder = Recorder::current()) recorder->end(open->node, fn);
}

int64_t as_bits(double value) {
  int64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Sizes exist and mean what they say.
bool has_sizes(const at::Tensor& t) { return !t.is_nested() && !t.unsafeGetTensorImpl()->has_symbolic_sizes_strides(); }

// A boxed call shows the dispatcher's whole stack: a TorchScript interpreter's holds other values below the call's.
template <typename Value>
c10::ArrayRef<Value> of_this_call(const at::RecordFunction& fn, c10::ArrayRef<Value> values, size_t count) {
  return fn.operator_name().has_value() && values.size() > count ? values.slice(values.size() - count) : values;
}

}  // namespace

int64_t current_node() { return t_node; }

Recorder* Recorder::current() { return static_cast<Recorder*>(c10::ThreadLocalDebugInfo::get(kKind)); }

int64_t Recorder::intern(const std::string& text) {
  const auto [at, fresh] = string_ids_.emplace(text, static_cast<int64_t>(strings_.size()));
  if (fresh) strings_.push_back(text);
  return at->second;
}

void Recorder::name(const at::Tensor& t, const std::string& name) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!t.defined() || !t.has_storage()) return;
  storage_names_.emplace(t.storage().unsafeGetStorageImpl(), intern(name));
  kept_.push_back(t);
}

void Recorder::name_like(const at::Tensor& t, const at::Tensor& of) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!of.has_storage() || !t.has_storage()) return;
  const auto found = storage_names_.find(of.storage().unsafeGetStorageImpl());
  if (found == storage_names_.end()) return;
  storage_names_.emplace(t.storage().unsafeGetStorageImpl(), found->second);
  kept_.push_back(t);
}

void Recorder::enter(std::string module) {
  std::lock_guard<std::mutex> lock(mutex_);
  modules_.push_back(intern(module));
}

void Recorder::leave() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!modules_.empty()) modules_.pop_back();
}

int64_t Recorder::flags_of(const at::RecordFunction& fn) {
  if (fn.scope() == at::RecordScope::BACKWARD_FUNCTION) return kAutograd;
  const auto name = fn.operator_name();
  if (!name.has_value()) return kAutograd;  // the engine's own ranges
  const auto [at, fresh] = flags_.emplace(name->name + "." + name->overload_name, 0);
  if (fresh) {
    if (const auto op = c10::Dispatcher::singleton().findOp(*name)) {
      if (op->hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd)) at->second |= kDecomposes;
      if (op->hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd) ||
          op->hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutogradNonFunctional)) {
        at->second |= kComposite;
      }
    }
  }
  return at->second;
}

int64_t Recorder::begin(const at::RecordFunction& fn, int64_t parent) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::string name = fn.name();
  if (const auto full = fn.operator_name(); full.has_value() && !full->overload_name.empty()) {
    name += "." + full->overload_name;
  }
  Node node;
  node.name = intern(name);
  node.parent = parent;
  node.module = modules_.empty() ? -1 : modules_.back();
  node.sequence = fn.seqNr();
  node.flags = flags_of(fn);
  const auto inputs = of_this_call(fn, fn.inputs(), fn.num_inputs());
  for (const auto& value : inputs) write(node.inputs, value);
  node.input_count = static_cast<int64_t>(inputs.size());
  nodes_.push_back(std::move(node));
  return static_cast<int64_t>(nodes_.size()) - 1;
}

void Recorder::end(int64_t index, const at::RecordFunction& fn) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (index >= static_cast<int64_t>(nodes_.size())) return;  // forgotten meanwhile
  Node& node = nodes_[index];
  const auto outputs = of_this_call(fn, c10::makeArrayRef(fn.outputs()), fn.num_outputs());
  for (const auto& value : outputs) write(node.outputs, value);
  node.output_count = static_cast<int64_t>(outputs.size());
}

int64_t Recorder::size() {
  std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int64_t>(nodes_.size());
}

void Recorder::forget(int64_t size) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (size < static_cast<int64_t>(nodes_.size())) nodes_.erase(nodes_.begin() + size, nodes_.end());
}

void Recorder::mark(int64_t node, NodeFlag flag) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (node >= 0 && node < static_cast<int64_t>(nodes_.size())) nodes_[node].flags |= flag;
}

void Recorder::write(std::vector<int64_t>& words, const at::Tensor& t) {
  if (!t.defined()) {
    words.push_back(NATTEN_NONE);
    return;
  }
  const auto* impl = t.unsafeGetTensorImpl();
  const auto [id, fresh] = tensor_ids_.emplace(impl, static_cast<int64_t>(tensor_ids_.size()));
  if (fresh && keep_) kept_.push_back(t);
  int64_t name = -1;
  if (t.has_storage()) {
    const auto found = storage_names_.find(t.storage().unsafeGetStorageImpl());
    if (found != storage_names_.end()) name = found->second;
  }
  words.insert(words.end(), {NATTEN_TENSOR, id->second, name, static_cast<int64_t>(t.scalar_type()),
                             static_cast<int64_t>(t.element_size())});
  if (!has_sizes(t)) {
    words.push_back(-1);
    return;
  }
  words.push_back(t.dim());
  words.insert(words.end(), t.sizes().begin(), t.sizes().end());
}

void Recorder::write(std::vector<int64_t>& words, const c10::IValue& value) {
  if (value.isTensor()) {
    write(words, value.toTensor());
  } else if (value.isTensorList() || value.isOptionalTensorList()) {
    const auto list = value.toListRef();
    words.insert(words.end(), {NATTEN_TENSOR_LIST, static_cast<int64_t>(list.size())});
    for (const auto& item : list) write(words, item.isTensor() ? item.toTensor() : at::Tensor());
  } else if (value.isInt()) {
    words.insert(words.end(), {NATTEN_INT, value.toInt()});
  } else if (value.isDouble()) {
    words.insert(words.end(), {NATTEN_DOUBLE, as_bits(value.toDouble())});
  } else if (value.isBool()) {
    words.insert(words.end(), {NATTEN_BOOL, static_cast<int64_t>(value.toBool())});
  } else if (value.isIntList()) {
    const auto list = value.toIntVector();
    words.insert(words.end(), {NATTEN_INT_LIST, static_cast<int64_t>(list.size())});
    words.insert(words.end(), list.begin(), list.end());
  } else if (value.isDoubleList()) {
    const auto list = value.toDoubleVector();
    words.insert(words.end(), {NATTEN_DOUBLE_LIST, static_cast<int64_t>(list.size())});
    for (const double x : list) words.push_back(as_bits(x));
  } else if (value.isBoolList()) {
    const auto list = value.toBoolList();
    words.insert(words.end(), {NATTEN_BOOL_LIST, static_cast<int64_t>(list.size())});
    for (const bool x : list) words.push_back(x);
  } else if (value.isString()) {
    words.insert(words.end(), {NATTEN_STRING, intern(value.toStringRef())});
  } else {
    words.push_back(NATTEN_NONE);
  }
}

void write_strings(std::vector<int64_t>& words, const std::vector<std::string>& strings) {
  words.push_back(static_cast<int64_t>(strings.size()));
  for (const auto& text : strings) {
    words.push_back(static_cast<int64_t>(text.size()));
    const size_t at = words.size();
    words.resize(at + (text.size() + 7) / 8);
    std::memcpy(words.data() + at, text.data(), text.size());
  }
}

std::vector<int64_t> Recorder::flatten() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<int64_t> words;
  write_strings(words, strings_);
  words.push_back(static_cast<int64_t>(nodes_.size()));
  for (const auto& node : nodes_) {
    words.insert(words.end(), {node.name, node.parent, node.module, node.sequence, node.flags, node.input_count});
    words.insert(words.end(), node.inputs.begin(), node.inputs.end());
    words.push_back(node.output_count);
    words.insert(words.end(), node.outputs.begin(), node.outputs.end());
  }
  return words;
}

Recording::Recording(std::shared_ptr<Recorder> recorder) {
  TORCH_CHECK(Recorder::current() == nullptr, "this thread is recording already");
  t_node = -1;
  c10::ThreadLocalDebugInfo::_push(kKind, std::move(recorder));
  callback_ = at::addThreadLocalCallback(at::RecordFunctionCallback(on_start, on_end)
                                             .needsInputs(true)
                                             .needsOutputs(true)
                                             .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
}

Recording::~Recording() {
  at::removeCallback(callback_);
  c10::ThreadLocalDebugInfo::_pop(kKind);
  t_node = -1;
}

}  // namespace natten::graph

// Writes down every operator that runs: name, arguments, results, and which
// operator, module and autograd node it ran inside.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace natten::graph {

// Bits of Recorder::Node::flags; internal/torch/trace.go knows them too.
enum NodeFlag : int64_t {
  kDecomposes = 1,  // its kernel is the same for every device and only calls other operators
  kComposite = 2,   // its forward kernel only calls other operators where it calls any
  kAutograd = 4,    // not an operator but a node of the backward graph
  kComputed = 8,    // ran on zeros, because the operator cannot run on shapes alone
};

// One recording. It lives in libtorch's thread-local debug info, which libtorch
// hands on to the threads that run a backward pass, so what these do is
// recorded too; hence the lock.
class Recorder : public c10::DebugInfoBase {
 public:
  // `keep` holds on to every tensor seen, so that a tensor's id is unique. Only
  // for tensors without data: it keeps their memory as well.
  explicit Recorder(bool keep) : keep_(keep) {}

  // The recording of the calling thread, or nullptr.
  static Recorder* current();

  // Lets tensors that share this storage be known by a name.
  void name(const at::Tensor& t, const std::string& name);
  // The name of `of` becomes that of `t` too.
  void name_like(const at::Tensor& t, const at::Tensor& of);

  void enter(std::string module);
  void leave();

  // Start and end of one operator, from the RecordFunction callbacks.
  int64_t begin(const at::RecordFunction& fn, int64_t parent);
  void end(int64_t node, const at::RecordFunction& fn);

  // Number of operators so far; forget(n) drops those after the first n, and
  // mark(node, flag) sets a flag of one.
  int64_t size();
  void forget(int64_t size);
  void mark(int64_t node, NodeFlag flag);

  // The whole recording as 64-bit words, see csrc/natten.h.
  std::vector<int64_t> flatten();

 private:
  struct Node {
    int64_t name, parent, module, sequence, flags;
    std::vector<int64_t> inputs, outputs;
    int64_t input_count = 0, output_count = 0;
  };

  int64_t intern(const std::string& text);
  int64_t flags_of(const at::RecordFunction& fn);
  void write(std::vector<int64_t>& words, const c10::IValue& value);
  void write(std::vector<int64_t>& words, const at::Tensor& t);

  std::mutex mutex_;
  const bool keep_;
  std::vector<Node> nodes_;
  std::vector<int64_t> modules_;  // entered and not left
  std::vector<std::string> strings_;
  std::unordered_map<std::string, int64_t> string_ids_;
  std::unordered_map<std::string, int64_t> flags_;
  std::unordered_map<const c10::TensorImpl*, int64_t> tensor_ids_;
  std::unordered_map<const c10::StorageImpl*, int64_t> storage_names_;
  std::vector<at::Tensor> kept_;
};

// Records on the calling thread while it lives.
class Recording {
 public:
  explicit Recording(std::shared_ptr<Recorder> recorder);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  at::CallbackHandle callback_;
};

// Appends a count of strings and each as its length and content padded to words.
void write_strings(std::vector<int64_t>& words, const std::vector<std::string>& strings);

// The operator that runs on this thread right now, -1 outside of any.
int64_t current_node();

}  // namespace natten::graph

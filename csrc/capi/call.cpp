// natten_call: one door to every operator in libtorch's dispatcher. The schema
// decides how each word of the flat argument list is read.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>

#include "guard.h"

namespace natten::capi {
namespace {

using c10::IValue;
using Tensors = c10::List<at::Tensor>;
using OptionalTensors = c10::List<c10::optional<at::Tensor>>;

double as_double(int64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
int64_t as_bits(double value) {
  int64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Reads the flat list word by word, never past its end.
class Reader {
 public:
  Reader(const int64_t* words, int64_t length) : words_(words), length_(length) {}
  bool done() const { return at_ == length_; }
  int64_t next() {
    TORCH_CHECK(at_ < length_, "argument list ends inside an argument");
    return words_[at_++];
  }
  int64_t count() {
    const int64_t n = next();
    TORCH_CHECK(n >= 0 && n <= length_ - at_, "argument list ends inside a list of ", n);
    return n;
  }
  std::string text() {
    const int64_t bytes = next();
    TORCH_CHECK(bytes >= 0 && bytes <= (length_ - at_) * 8, "argument list ends inside a string of ", bytes);
    std::string value(reinterpret_cast<const char*>(words_ + at_), bytes);
    at_ += (bytes + 7) / 8;
    return value;
  }

 private:
  const int64_t* words_;
  int64_t length_;
  int64_t at_ = 0;
};

at::Tensor tensor_or_undefined(int64_t word) {
  return word == 0 ? at::Tensor() : *reinterpret_cast<const at::Tensor*>(word);
}

const c10::Type& unwrap_optional(const c10::Type& type) {
  return type.kind() == c10::TypeKind::OptionalType ? *type.castRaw<c10::OptionalType>()->getElementType() : type;
}

bool list_of(const c10::Type& type, c10::TypeKind kind) {
  return type.kind() == c10::TypeKind::ListType && type.castRaw<c10::ListType>()->getElementType()->kind() == kind;
}

Tensors read_gradients(Reader& in) {
  const int64_t n = in.count();
  Tensors list;
  for (int64_t i = 0; i < n; i++) {
    const at::Tensor leaf = tensor_or_undefined(in.next());
    TORCH_CHECK(leaf.defined() && leaf.grad().defined(), "tensor ", i, " of the list has no gradient");
    list.push_back(leaf.grad());
  }
  return list;
}

IValue read_tensors(Reader& in, const c10::Type& type) {
  const int64_t n = in.count();
  if (list_of(type, c10::TypeKind::OptionalType)) {
    OptionalTensors list;
    for (int64_t i = 0; i < n; i++) {
      const int64_t word = in.next();
      list.push_back(word == 0 ? c10::optional<at::Tensor>() : tensor_or_undefined(word));
    }
    return list;
  }
  Tensors list;
  for (int64_t i = 0; i < n; i++) list.push_back(tensor_or_undefined(in.next()));
  return list;
}

// One argument. Integers become floats where the schema wants floats: Go's
// untyped constants should not surprise.
IValue read(Reader& in, const c10::Argument& argument) {
  const c10::Type& type = unwrap_optional(*argument.type());
  switch (const int64_t tag = in.next()) {
    case NATTEN_NONE:
      return type.kind() == c10::TypeKind::TensorType && argument.type()->kind() != c10::TypeKind::OptionalType
                 ? IValue(at::Tensor())
                 : IValue();
    case NATTEN_TENSOR:
      return tensor_or_undefined(in.next());
    case NATTEN_INT: {
      const int64_t value = in.next();
      return type.kind() == c10::TypeKind::FloatType ? IValue(static_cast<double>(value)) : IValue(value);
    }
    case NATTEN_DOUBLE:
      return as_double(in.next());
    case NATTEN_BOOL:
      return in.next() != 0;
    case NATTEN_INT_LIST: {
      const int64_t n = in.count();
      if (list_of(type, c10::TypeKind::FloatType)) {
        c10::List<double> list;
        for (int64_t i = 0; i < n; i++) list.push_back(static_cast<double>(in.next()));
        return list;
      }
      c10::List<int64_t> list;
      for (int64_t i = 0; i < n; i++) list.push_back(in.next());
      return list;
    }
    case NATTEN_DOUBLE_LIST: {
      c10::List<double> list;
      for (int64_t n = in.count(); n > 0; n--) list.push_back(as_double(in.next()));
      return list;
    }
    case NATTEN_BOOL_LIST: {
      c10::List<bool> list;
      for (int64_t n = in.count(); n > 0; n--) list.push_back(in.next() != 0);
      return list;
    }
    case NATTEN_TENSOR_LIST:
      return read_tensors(in, type);
    case NATTEN_GRADIENTS:
      return read_gradients(in);
    case NATTEN_STRING:
      return in.text();
    case NATTEN_DEVICE: {
      const int64_t kind = in.next();
      return device(kind, in.next());
    }
    case NATTEN_DEFAULT:
      TORCH_CHECK(argument.default_value().has_value(), "argument ", argument.name(), " has no default");
      return *argument.default_value();
    default:
      TORCH_CHECK(false, "argument ", argument.name(), ": unknown tag ", tag);
  }
}

// Writes results; on overflow the tensors already handed out are taken back.
class Writer {
 public:
  Writer(int64_t* words, int64_t capacity) : words_(words), capacity_(capacity) {}
  void put(int64_t word) {
    TORCH_CHECK(at_ < capacity_, "results need more than ", capacity_, " words");
    words_[at_++] = word;
  }
  void put_tensor(const at::Tensor& t) {
    if (!t.defined()) return put(0);
    put(0);
    auto* handle = new at::Tensor(t);
    owned_.push_back(handle);
    words_[at_ - 1] = reinterpret_cast<int64_t>(handle);
  }
  void put(const IValue& value) {
    if (value.isTensor()) {
      put(NATTEN_TENSOR);
      put_tensor(value.toTensor());
    } else if (value.isTensorList()) {
      put(NATTEN_TENSOR_LIST);
      const auto list = value.toTensorVector();
      put(static_cast<int64_t>(list.size()));
      for (const auto& t : list) put_tensor(t);
    } else if (value.isInt()) {
      put(NATTEN_INT);
      put(value.toInt());
    } else if (value.isDouble()) {
      put(NATTEN_DOUBLE);
      put(as_bits(value.toDouble()));
    } else if (value.isBool()) {
      put(NATTEN_BOOL);
      put(static_cast<int64_t>(value.toBool()));
    } else if (value.isNone()) {
      put(NATTEN_NONE);
    } else if (value.isScalar()) {
      put(IValue(value.toScalar().toDouble()));
    } else {
      TORCH_CHECK(false, "result of type ", value.tagKind(), " has no C form");
    }
  }
  int64_t commit() {
    owned_.clear();
    return at_;
  }
  ~Writer() {
    for (auto* handle : owned_) delete handle;
  }

 private:
  int64_t* words_;
  int64_t capacity_;
  int64_t at_ = 0;
  std::vector<at::Tensor*> owned_;
};

}  // namespace
}  // namespace natten::capi

using namespace natten::capi;

char* natten_operator_find(const char* name, const char* overload, natten_operator* op) {
  return guard([&] {
    const auto found = c10::Dispatcher::singleton().findSchema({name, overload});
    TORCH_CHECK(found.has_value(), "no operator ", name, *overload ? "." : "", overload, " in this libtorch");
    *op = new c10::OperatorHandle(*found);  // one per operator, kept for the life of the process
  });
}

char* natten_call(natten_operator op, const int64_t* arguments, int64_t length, int64_t* results, int64_t capacity,
                  int64_t* written) {
  *written = 0;
  return guard([&] {
    const auto& handle = *static_cast<const c10::OperatorHandle*>(op);
    const auto& schema = handle.schema();
    Reader in(arguments, length);
    torch::jit::Stack stack;
    stack.reserve(schema.arguments().size());
    for (const auto& argument : schema.arguments()) {
      if (in.done()) {
        TORCH_CHECK(argument.default_value().has_value(), schema.name(), ": argument ", argument.name(), " is missing");
        stack.push_back(*argument.default_value());
      } else {
        stack.push_back(read(in, argument));
      }
    }
    TORCH_CHECK(in.done(), schema.name(), ": more arguments than its schema has (", schema.arguments().size(), ")");
    handle.callBoxed(&stack);
    Writer out(results, capacity);
    for (const auto& value : stack) out.put(value);
    *written = out.commit();
  });
}

#include "arguments.h"

#include <ATen/ATen.h>

#include <cmath>
#include <functional>
#include <limits>

namespace natten::test {
namespace {

using at::Tensor;
using c10::IValue;

int64_t between(Random& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}
bool chance(Random& random, int one_in) { return between(random, 1, one_in) == 1; }
template <class T>
T one_of(Random& random, std::initializer_list<T> list) {
  return list.begin()[between(random, 0, static_cast<int64_t>(list.size()) - 1)];
}

// One random problem, and the tensors that its operators take.
struct Draw {
  std::vector<int64_t> spatial, kernel, dilation, stride;
  c10::List<bool> causal;
  int64_t batch, heads, kv_heads, dim, value_dim, slots = 1;
  at::ScalarType dtype;
  bool bias;

  explicit Draw(Random& random) {
    const int64_t rank = between(random, 1, 3);
    bool any_causal = false;
    for (int64_t i = 0; i < rank; i++) {
      kernel.push_back(between(random, 1, 3));
      dilation.push_back(between(random, 1, 2));
      stride.push_back(between(random, 1, kernel.back()));
      causal.push_back(chance(random, 5));
      any_causal = any_causal || causal.get(i);
      spatial.push_back(kernel.back() * dilation.back() + between(random, 0, 2));
      slots *= kernel.back();
    }
    batch = between(random, 0, 2);
    kv_heads = between(random, 1, 2);
    heads = kv_heads * between(random, 1, 2);
    dim = between(random, 1, 9);
    value_dim = between(random, 1, 9);
    dtype = one_of(random, {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16});
    bias = !any_causal && chance(random, 2);
  }
  at::ScalarType sum_dtype() const { return dtype == at::kDouble ? at::kDouble : at::kFloat; }
  Tensor tokens(int64_t heads, int64_t last) const {
    std::vector<int64_t> shape{batch};
    shape.insert(shape.end(), spatial.begin(), spatial.end());
    shape.push_back(heads);
    if (last > 0) shape.push_back(last);
    return at::randn(shape, dtype);
  }
  IValue rpb() const {
    if (!bias) return {};
    std::vector<int64_t> shape{heads};
    for (const int64_t k : kernel) shape.push_back(2 * k - 1);
    return at::randn(shape, sum_dtype());
  }
  Tensor q() const { return tokens(heads, dim); }
  Tensor k() const { return tokens(kv_heads, dim); }
  Tensor v() const { return tokens(kv_heads, value_dim); }
  Tensor out() const { return tokens(heads, value_dim); }
  Tensor weights() const { return tokens(heads, slots); }
  Tensor lse() const { return tokens(heads, 0).to(sum_dtype()); }
  void window(std::vector<IValue>& to) const {
    to.emplace_back(kernel);
    to.emplace_back(dilation);
    to.emplace_back(causal);
  }
};

Tensor packed(const Tensor& t, int64_t samples) {
  return t.flatten(0, -3).repeat({samples, 1, 1});  // the same spatial sizes for each
}

}  // namespace

const std::vector<std::string>& operators() {
  static const std::vector<std::string> names{"natten::na",
                                              "natten::na_lse",
                                              "natten::na_qk",
                                              "natten::na_av",
                                              "natten::na_varlen",
                                              "natten::_na_forward",
                                              "natten::_na_backward",
                                              "natten::_na_qk_backward",
                                              "natten::_na_av_backward",
                                              "natten::merge_attentions"};
  return names;
}

Call valid_call(const std::string& op, Random& random) {
  const Draw draw(random);
  const std::string name = op.substr(op.rfind(':') + 1);
  Call call{op, {}};
  std::vector<IValue>& a = call.arguments;
  if (name == "merge_attentions") {
    const int64_t count = between(random, 1, 3);
    std::vector<Tensor> outs, lses;
    for (int64_t i = 0; i < count; i++) {
      outs.push_back(draw.out());
      lses.push_back(draw.lse());
    }
    a = {outs, lses};
    return call;
  }
  if (name == "na_qk" || name == "_na_qk_backward") {
    if (name[0] == '_') a.emplace_back(draw.weights());
    a.insert(a.end(), {draw.q(), draw.k(), draw.rpb()});
    draw.window(a);
    a.insert(a.end(), {0.5, draw.stride});
    if (name[0] == '_') a.emplace_back(chance(random, 2));
    return call;
  }
  if (name == "na_av" || name == "_na_av_backward") {
    if (name[0] == '_') a.emplace_back(draw.out());
    a.insert(a.end(), {draw.weights(), draw.v()});
    draw.window(a);
    a.emplace_back(draw.stride);
    return call;
  }
  const IValue scale = chance(random, 2) ? IValue() : IValue(0.5);
  if (name == "_na_backward") a.emplace_back(draw.out());
  if (name == "na_varlen") {
    const int64_t samples = between(random, 1, 3);
    std::vector<int64_t> sizes;
    for (int64_t i = 0; i < samples * std::max<int64_t>(draw.batch, 1); i++) {
      sizes.insert(sizes.end(), draw.spatial.begin(), draw.spatial.end());
    }
    if (draw.batch == 0) sizes.clear();
    a = {packed(draw.q(), samples), packed(draw.k(), samples), packed(draw.v(), samples), draw.rpb(), sizes};
  } else {
    a.insert(a.end(), {draw.q(), draw.k(), draw.v(), draw.rpb()});
  }
  if (name == "_na_backward") a.insert(a.end(), {draw.out(), draw.lse()});
  draw.window(a);
  a.insert(a.end(), {scale, draw.stride});
  if (name == "_na_backward") a.insert(a.end(), {chance(random, 2), chance(random, 2) ? IValue() : IValue(draw.lse())});
  if (name == "na") {
    if (chance(random, 3)) {
      const int64_t count = between(random, 0, 3);
      a.emplace_back(at::randn({draw.batch, count, draw.kv_heads, draw.dim}, draw.dtype));
      a.emplace_back(at::randn({draw.batch, count, draw.kv_heads, draw.value_dim}, draw.dtype));
    } else {
      a.insert(a.end(), {IValue(), IValue()});
    }
    a.emplace_back(chance(random, 3) ? 0.3 : 0.0);
    a.push_back(chance(random, 2) ? IValue() : IValue(between(random, 0, 1000)));
  }
  return call;
}

namespace {

std::string damage_tensor(IValue& value, Random& random) {
  Tensor t = value.isTensor() ? value.toTensor() : at::randn({2, 3});
  if (!t.defined()) t = at::randn({2, 3});
  const int64_t axis = t.dim() > 0 ? between(random, 0, t.dim() - 1) : 0;
  std::vector<int64_t> sizes = t.sizes().vec();
  const auto resized = [&](int64_t size) {
    sizes[axis] = size;
    return size > 64 ? at::zeros({1}, t.options()).expand(sizes) : at::zeros(sizes, t.options());
  };
  std::vector<std::pair<const char*, std::function<IValue()>>> ways{
      {"undefined", [&] { return Tensor(); }},
      {"absent", [&] { return IValue(); }},
      {"one dimension more", [&] { return t.unsqueeze(axis); }},
      {"a scalar", [&] { return at::zeros({}, t.options()); }},
      {"int64", [&] { return t.to(at::kLong); }},
      {"bool", [&] { return t.to(at::kBool); }},
      {"complex", [&] { return t.to(at::kComplexFloat); }},
      {"another floating dtype", [&] { return t.to(t.scalar_type() == at::kHalf ? at::kFloat : at::kHalf); }},
      {"eight-bit floats", [&] { return t.to(at::kFloat8_e5m2); }},
      {"on meta", [&] { return at::empty_like(t, t.options().device(at::kMeta)); }},
      {"sparse", [&] { return t.to_sparse(); }},
      {"quantized", [&] { return at::quantize_per_tensor(t.to(at::kFloat), 0.1, 3, at::kQInt8); }},
      {"nested", [&] { return at::_nested_tensor_from_tensor_list({t, t}); }},
      {"of mkldnn", [&] { return t.to(at::kFloat).to_mkldnn(); }},
  };
  if (t.dim() > 0) {
    ways.insert(ways.end(), {{"one dimension less", [&] { return at::zeros(t.sizes().slice(1), t.options()); }},
                             {"empty along an axis", [&] { return resized(0); }},
                             {"longer along an axis", [&] { return resized(sizes[axis] + 1); }},
                             {"shorter along an axis", [&] { return resized(std::max<int64_t>(sizes[axis] - 1, 0)); }},
                             {"huge along an axis", [&] { return resized(int64_t{1} << between(random, 31, 45)); }},
                             {"transposed", [&] { return t.transpose(axis, 0); }}});
  }
  const auto& [what, make] = ways[between(random, 0, static_cast<int64_t>(ways.size()) - 1)];
  IValue changed;
  try {
    changed = make();
  } catch (const c10::Error&) {  // this tensor cannot be made so
    changed = IValue(Tensor());
  }
  value = changed;
  return what;
}

std::string damage_ints(IValue& value, Random& random) {
  std::vector<int64_t> list = value.toIntVector();
  constexpr int64_t most = std::numeric_limits<int64_t>::max(), least = std::numeric_limits<int64_t>::min();
  switch (between(random, 0, 4)) {
    case 0:
      list.clear();
      break;
    case 1:
      list.push_back(1);
      break;
    case 2:
      list.assign(between(random, 4, 9), 1);
      break;
    default:
      if (list.empty()) list.push_back(1);
      list[between(random, 0, static_cast<int64_t>(list.size()) - 1)] = one_of<int64_t>(
          random, {0, -1, 4, 7, 1000, int64_t{1} << 31, int64_t{1} << 40, most, most / 2 + 1, least, -most / 3});
  }
  value = list;
  return "other numbers";
}

}  // namespace

std::string damage(Call& call, const c10::FunctionSchema& schema, Random& random) {
  const size_t at = between(random, 0, static_cast<int64_t>(call.arguments.size()) - 1);
  IValue& value = call.arguments[at];
  const c10::Type* type = schema.arguments()[at].type().get();
  if (type->kind() == c10::TypeKind::OptionalType) type = type->castRaw<c10::OptionalType>()->getElementType().get();
  const std::string where = schema.arguments()[at].name() + ": ";
  switch (type->kind()) {
    case c10::TypeKind::TensorType:
      return where + damage_tensor(value, random);
    case c10::TypeKind::FloatType:
      value = one_of(random, {std::nan(""), HUGE_VAL, -HUGE_VAL, -0.5, 1.0, 1.5, 1e300, 0.0});
      return where + "another number";
    case c10::TypeKind::ListType:
      break;
    default:  // a seed or a switch: every value is a good one
      return where + "kept";
  }
  if (value.isTensorList()) {
    std::vector<Tensor> list = value.toTensorVector();
    const int64_t which = between(random, 0, static_cast<int64_t>(list.size()) - 1);
    if (chance(random, 3)) {
      list.erase(list.begin() + which);
    } else {
      IValue one = list[which];
      damage_tensor(one, random);
      list[which] = one.isTensor() ? one.toTensor() : Tensor();
    }
    value = list;
    return where + "another tensor or one less";
  }
  if (value.isBoolList()) {
    c10::List<bool> list = value.toBoolList().copy();
    if (chance(random, 3) || list.empty()) {
      list.push_back(false);
    } else if (chance(random, 2)) {
      list.pop_back();
    } else {
      const size_t which = between(random, 0, static_cast<int64_t>(list.size()) - 1);
      list.set(which, !list.get(which));
    }
    value = list;
    return where + "other switches";
  }
  return where + damage_ints(value, random);
}

}  // namespace natten::test

// Shape-only kernels of the operators whose own libtorch keeps in Python, with
// the checks and memory formats of the real ones.
#include <ATen/EmptyTensor.h>
#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>

#include "shapes.h"

namespace natten::graph {
namespace {

using at::Tensor;
using torch::jit::Stack;
using Sizes = std::vector<int64_t>;

Tensor meta(at::IntArrayRef sizes, at::ScalarType dtype, at::MemoryFormat format = at::MemoryFormat::Contiguous) {
  return Tensor(at::detail::empty_meta(sizes, dtype, at::kStrided, c10::Device(c10::kMeta), false, format));
}

// The arguments of one call, by position.
class Arguments {
 public:
  Arguments(Stack* stack, size_t count) : stack_(stack), count_(count) {}
  const c10::IValue& operator[](size_t i) const { return torch::jit::peek(*stack_, i, count_); }
  Tensor tensor(size_t i) const { return (*this)[i].isTensor() ? (*this)[i].toTensor() : Tensor(); }
  // A list with one entry per axis; a single entry holds for all axes.
  Sizes per_axis(size_t i, size_t axes) const {
    const c10::IValue& value = (*this)[i];
    Sizes list = value.isIntList() ? value.toIntVector() : Sizes{value.toInt()};
    if (list.size() == 1) list.resize(axes, list[0]);
    TORCH_CHECK(list.size() == axes, "expected ", axes, " values or one, got ", list.size());
    return list;
  }
  // The spatial axes of a convolution's weight [out, in, *window], argument 1.
  size_t window_axes() const {
    const Tensor weight = tensor(1);
    TORCH_CHECK(weight.defined() && weight.dim() >= 3, "convolution: weight has ", weight.defined() ? weight.dim() : 0,
                " axes, want at least 3");
    return static_cast<size_t>(weight.dim() - 2);
  }
  template <typename... Results>
  void finish(Results&&... results) {
    torch::jit::drop(*stack_, count_);
    torch::jit::push(*stack_, std::forward<Results>(results)...);
  }

 private:
  Stack* stack_;
  size_t count_;
};

struct Convolution {
  Sizes stride, padding, dilation, output_padding;
  bool transposed = false;
  int64_t groups = 1;
};

// Convolution arithmetic: (in + 2 padding - dilation (kernel - 1) - 1) / stride + 1, and its inverse.
Tensor convolve(const Tensor& input, const Tensor& weight, const Convolution& c) {
  const int64_t axes = weight.dim() - 2;
  const bool batched = input.dim() == weight.dim();
  TORCH_CHECK(axes >= 1 && (batched || input.dim() == weight.dim() - 1), "convolution: input of shape ", input.sizes(),
              " does not fit a weight of shape ", weight.sizes());
  const int64_t channel_axis = batched ? 1 : 0;
  TORCH_CHECK(c.groups >= 1, "convolution: groups is ", c.groups, ", want at least 1");
  for (int64_t a = 0; a < axes; a++) {
    TORCH_CHECK(c.stride[a] >= 1, "convolution: stride is ", c.stride[a], " on axis ", a, ", want at least 1");
    TORCH_CHECK(c.dilation[a] >= 1, "convolution: dilation is ", c.dilation[a], " on axis ", a, ", want at least 1");
    TORCH_CHECK(c.padding[a] >= 0, "convolution: padding is ", c.padding[a], " on axis ", a, ", want at least 0");
  }
  const int64_t channels = c.transposed ? weight.size(0) : weight.size(1) * c.groups;
  TORCH_CHECK(input.size(channel_axis) == channels, "convolution: input of shape ", input.sizes(), " has ",
              input.size(channel_axis), " channels, a weight of shape ", weight.sizes(), " with ", c.groups,
              " groups wants ", channels);
  Sizes sizes(input.sizes().begin(), input.sizes().begin() + channel_axis);
  sizes.push_back(c.transposed ? weight.size(1) * c.groups : weight.size(0));
  for (int64_t a = 0; a < axes; a++) {
    const int64_t in = input.size(channel_axis + 1 + a), window = c.dilation[a] * (weight.size(2 + a) - 1) + 1;
    TORCH_CHECK(c.transposed || in + 2 * c.padding[a] >= window, "convolution: input of shape ", input.sizes(),
                " is smaller than the kernel's window of ", window, " on axis ", a);
    sizes.push_back(c.transposed ? (in - 1) * c.stride[a] - 2 * c.padding[a] + window + c.output_padding[a]
                                 : (in + 2 * c.padding[a] - window) / c.stride[a] + 1);
  }
  auto format = input.suggest_memory_format();
  if (format == at::MemoryFormat::Contiguous) format = weight.suggest_memory_format();
  const int64_t want = format == at::MemoryFormat::ChannelsLast     ? 4
                       : format == at::MemoryFormat::ChannelsLast3d ? 5
                                                                    : 0;
  return meta(sizes, input.scalar_type(),
              static_cast<int64_t>(sizes.size()) == want ? format : at::MemoryFormat::Contiguous);
}

// conv1d, conv2d, conv3d(input, weight, bias, stride, padding, dilation, groups); padding may be a word.
void conv(Stack* stack, size_t count) {
  Arguments in(stack, count);
  const size_t axes = in.window_axes();
  const Tensor input = in.tensor(0), weight = in.tensor(1);
  Convolution c;
  c.stride = in.per_axis(3, axes);
  c.dilation = in.per_axis(5, axes);
  c.groups = in[6].toInt();
  if (!in[4].isString()) {
    c.padding = in.per_axis(4, axes);
  } else if (in[4].toStringRef() == "valid") {
    c.padding.assign(axes, 0);
  } else {  // "same": as many as the window takes away, and stride is 1
    TORCH_CHECK(input.dim() + 1 >= weight.dim(), "convolution: input of shape ", input.sizes(),
                " does not fit a weight of shape ", weight.sizes());
    Sizes sizes = input.sizes().vec();
    sizes[sizes.size() - axes - 1] = weight.size(0);
    return in.finish(meta(sizes, input.scalar_type()));
  }
  in.finish(convolve(input, weight, c));
}

// conv_transpose1d, 2d, 3d(input, weight, bias, stride, padding, output_padding, groups, dilation)
void conv_transpose(Stack* stack, size_t count) {
  Arguments in(stack, count);
  const size_t axes = in.window_axes();
  Convolution c{in.per_axis(3, axes), in.per_axis(4, axes), in.per_axis(7, axes), in.per_axis(5, axes), true,
                in[6].toInt()};
  in.finish(convolve(in.tensor(0), in.tensor(1), c));
}

// convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups);
// _convolution has flags after these.
void convolution(Stack* stack, size_t count) {
  Arguments in(stack, count);
  const size_t axes = in.window_axes();
  Convolution c{in.per_axis(3, axes), in.per_axis(4, axes), in.per_axis(5, axes),
                in.per_axis(7, axes), in[6].toBool(),       in[8].toInt()};
  in.finish(convolve(in.tensor(0), in.tensor(1), c));
}

void check_normalized(const Tensor& input, at::IntArrayRef shape) {
  const int64_t from = input.dim() - static_cast<int64_t>(shape.size());
  TORCH_CHECK(from >= 0 && input.sizes().slice(from) == shape, "layer_norm: normalized_shape ", shape,
              " is not the end of the input's shape ", input.sizes());
}

// layer_norm(input, normalized_shape, weight, bias, eps, cudnn_enable)
void layer_norm(Stack* stack, size_t count) {
  Arguments in(stack, count);
  const Tensor input = in.tensor(0);
  check_normalized(input, in[1].toIntVector());
  in.finish(meta(input.sizes(), input.scalar_type()));
}

// native_layer_norm(input, normalized_shape, weight, bias, eps) -> output, mean, rstd
void native_layer_norm(Stack* stack, size_t count) {
  Arguments in(stack, count);
  const Tensor input = in.tensor(0);
  const Sizes shape = in[1].toIntVector();
  check_normalized(input, shape);
  Sizes rows = input.sizes().vec();
  for (size_t i = rows.size() - shape.size(); i < rows.size(); i++) rows[i] = 1;
  in.finish(meta(input.sizes(), input.scalar_type()), meta(rows, input.scalar_type()), meta(rows, input.scalar_type()));
}

// [batch, channels, ...]
void check_channels(const Tensor& input) {
  TORCH_CHECK(input.dim() >= 2, "normalization: input has shape ", input.sizes(), ", want [batch, channels, ...]");
}

// batch_norm and instance_norm(input, weight, bias, mean, var, training, momentum, eps, cudnn_enabled)
// and group_norm(input, num_groups, weight, bias, eps, cudnn_enabled): the shape and format of the input.
void like_input(Stack* stack, size_t count) {
  Arguments in(stack, count);
  const Tensor input = in.tensor(0);
  check_channels(input);
  in.finish(meta(input.sizes(), input.scalar_type(), input.suggest_memory_format()));
}

// native_batch_norm(input, weight, bias, mean, var, training, momentum, eps) -> output, mean, rstd
void native_batch_norm(Stack* stack, size_t count) {
  Arguments in(stack, count);
  const Tensor input = in.tensor(0);
  check_channels(input);
  const int64_t saved = in[5].toBool() ? input.size(1) : 0;
  in.finish(meta(input.sizes(), input.scalar_type(), input.suggest_memory_format()), meta({saved}, input.scalar_type()),
            meta({saved}, input.scalar_type()));
}

// embedding(weight, indices, padding_idx, scale_grad_by_freq, sparse)
void embedding(Stack* stack, size_t count) {
  Arguments in(stack, count);
  const Tensor weight = in.tensor(0);
  TORCH_CHECK(weight.dim() == 2, "embedding: weight has shape ", weight.sizes(), ", want [entries, channels]");
  Sizes sizes = in.tensor(1).sizes().vec();
  sizes.push_back(weight.size(1));
  in.finish(meta(sizes, weight.scalar_type()));
}

// scaled_dot_product_attention(query, key, value, mask, dropout_p, is_causal, scale, enable_gqa)
void attention(Stack* stack, size_t count) {
  Arguments in(stack, count);
  const Tensor query = in.tensor(0), key = in.tensor(1), value = in.tensor(2);
  for (const Tensor& t : {query, key, value}) {
    TORCH_CHECK(t.dim() >= 2, "scaled_dot_product_attention: an input has shape ", t.sizes(),
                ", want [..., tokens, channels]");
  }
  Sizes sizes = query.sizes().vec();
  sizes.back() = value.size(-1);
  in.finish(meta(sizes, query.scalar_type()));
}

// where(condition, self, other)
void where(Stack* stack, size_t count) {
  Arguments in(stack, count);
  const Tensor a = in.tensor(1), b = in.tensor(2);
  const auto sizes = at::infer_size(in.tensor(0).sizes(), at::infer_size(a.sizes(), b.sizes()));
  in.finish(meta(sizes, at::result_type(a, b)));
}

}  // namespace

ShapeFunction shape_function(const c10::OperatorName& op) {
  static const std::unordered_map<std::string, ShapeFunction> table = {
      {"aten::conv1d", conv},
      {"aten::conv2d", conv},
      {"aten::conv3d", conv},
      {"aten::conv_transpose1d", conv_transpose},
      {"aten::conv_transpose2d", conv_transpose},
      {"aten::conv_transpose3d", conv_transpose},
      {"aten::convolution", convolution},
      {"aten::_convolution", convolution},
      {"aten::layer_norm", layer_norm},
      {"aten::native_layer_norm", native_layer_norm},
      {"aten::batch_norm", like_input},
      {"aten::instance_norm", like_input},
      {"aten::group_norm", like_input},
      {"aten::native_batch_norm", native_batch_norm},
      {"aten::embedding", embedding},
      {"aten::scaled_dot_product_attention", attention},
      {"aten::where.self", where},
  };
  auto found = table.find(op.name);
  if (found == table.end()) found = table.find(op.name + "." + op.overload_name);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace natten::graph

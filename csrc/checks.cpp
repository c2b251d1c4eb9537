#include "checks.h"

#include <c10/util/Exception.h>

#include <cmath>
#include <string>

namespace natten {
namespace {

bool supported(at::ScalarType type) {
  return type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16;
}

// Fills the axes and checks that each window fits its axis.
void check_geometry(const char* op, const Geometry& geometry, at::IntArrayRef spatial, Problem* problem) {
  const int64_t rank = problem->rank;
  TORCH_CHECK(static_cast<int64_t>(geometry.dilation.size()) == rank, "natten::", op, ": dilation has ",
              geometry.dilation.size(), " entries, want ", rank, ", one per axis like kernel_size");
  TORCH_CHECK(static_cast<int64_t>(geometry.is_causal.size()) == rank, "natten::", op, ": is_causal has ",
              geometry.is_causal.size(), " entries, want ", rank, ", one per axis like kernel_size");
  TORCH_CHECK(geometry.stride.empty() || static_cast<int64_t>(geometry.stride.size()) == rank, "natten::", op,
              ": stride has ", geometry.stride.size(), " entries, want ", rank, ", one per axis like kernel_size");
  for (int64_t i = 0; i < rank; i++) {
    Axis& axis = problem->axis[kAxes - rank + i];
    axis.length = spatial[i];
    axis.kernel = geometry.kernel_size[i];
    axis.dilation = geometry.dilation[i];
    axis.stride = geometry.stride.empty() ? 1 : geometry.stride[i];
    axis.causal = geometry.is_causal.get(i);
    TORCH_CHECK(axis.kernel >= 1, "natten::", op, ": kernel_size[", i, "] is ", axis.kernel, ", want at least 1");
    TORCH_CHECK(axis.dilation >= 1, "natten::", op, ": dilation[", i, "] is ", axis.dilation, ", want at least 1");
    TORCH_CHECK(axis.stride >= 1 && axis.stride <= axis.kernel, "natten::", op, ": stride[", i, "] is ", axis.stride,
                ", want 1 to kernel_size ", axis.kernel);
    // Divided, not multiplied: the product may overflow.
    TORCH_CHECK(axis.kernel <= axis.length / axis.dilation, "natten::", op, ": kernel_size[", i, "] is ", axis.kernel,
                " at dilation ", axis.dilation, ", which exceeds the ", axis.length, " tokens of spatial axis ", i);
  }
}

// Rank, batch, tokens and heads from a tensor [B, *spatial, H, last].
Problem check_shape(const char* op, const char* name, const at::Tensor& t, const Geometry& geometry) {
  Problem problem;
  const int64_t rank = static_cast<int64_t>(geometry.kernel_size.size());
  TORCH_CHECK(rank >= 1 && rank <= kAxes, "natten::", op, ": kernel_size has ", rank, " entries, want 1 to ", kAxes);
  TORCH_CHECK(t.defined(), "natten::", op, ": ", name, " is undefined");
  TORCH_CHECK(t.dim() == rank + 3, "natten::", op, ": ", name, " has ", t.dim(), " dimensions, want ", rank + 3,
              " ([batch, ", rank, " spatial, heads, dim]) for a kernel_size of ", rank);
  TORCH_CHECK(supported(t.scalar_type()), "natten::", op, ": ", name, " has dtype ", t.scalar_type(),
              ", want float32, float64, float16 or bfloat16");
  problem.rank = static_cast<int>(rank);
  problem.batch = t.size(0);
  problem.heads = problem.kv_heads = t.size(-2);
  problem.dim = problem.value_dim = t.size(-1);
  TORCH_CHECK(problem.heads >= 1, "natten::", op, ": ", name, " has ", problem.heads, " heads, want at least 1");
  TORCH_CHECK(problem.dim >= 1, "natten::", op, ": ", name, " has a last dimension of ", problem.dim,
              ", want at least 1");
  check_geometry(op, geometry, t.sizes().slice(1, rank), &problem);
  return problem;
}

void check_device(const char* op, const char* name, const at::Tensor& t, const at::Tensor& q) {
  TORCH_CHECK(t.device() == q.device(), "natten::", op, ": ", name, " is on ", t.device(), ", want ", q.device(),
              " like the first argument");
}

void check_like(const char* op, const char* name, const at::Tensor& t, const at::Tensor& q) {
  TORCH_CHECK(t.defined(), "natten::", op, ": ", name, " is undefined");
  TORCH_CHECK(t.scalar_type() == q.scalar_type(), "natten::", op, ": ", name, " has dtype ", t.scalar_type(), ", want ",
              q.scalar_type(), " like the first argument");
  check_device(op, name, t, q);
}

void check_shaped(const char* op, const char* name, const at::Tensor& t, at::IntArrayRef shape, at::ScalarType dtype,
                  const at::Tensor& q) {
  TORCH_CHECK(t.defined(), "natten::", op, ": ", name, " is undefined");
  TORCH_CHECK(t.scalar_type() == dtype, "natten::", op, ": ", name, " has dtype ", t.scalar_type(), ", want ", dtype);
  TORCH_CHECK(t.sizes() == shape, "natten::", op, ": ", name, " has shape ", t.sizes(), ", want ", shape);
  check_device(op, name, t, q);
}

// Keys and values: the batch and spatial sizes of the queries, heads that divide theirs.
void check_keys(const char* op, const char* name, const at::Tensor& t, const at::Tensor& q, int64_t heads) {
  check_like(op, name, t, q);
  TORCH_CHECK(t.dim() == q.dim(), "natten::", op, ": ", name, " has ", t.dim(), " dimensions, want ", q.dim(),
              " like the first argument");
  for (int64_t i = 0; i < q.dim() - 2; i++) {
    TORCH_CHECK(t.size(i) == q.size(i), "natten::", op, ": ", name, " has size ", t.size(i), " in dimension ", i,
                ", want ", q.size(i), " like the first argument");
  }
  TORCH_CHECK(t.size(-2) >= 1 && heads % t.size(-2) == 0, "natten::", op, ": ", name, " has ", t.size(-2),
              " heads, want a divisor of the ", heads, " heads of the first argument");
}

void check_bias(const char* op, const OptionalTensor& rpb, const at::Tensor& q, const Problem& problem) {
  if (!has(rpb)) return;
  const std::vector<int64_t> want = bias_shape(problem);
  TORCH_CHECK(rpb->sizes() == at::IntArrayRef(want), "natten::", op, ": rpb has shape ", rpb->sizes(), ", want ",
              at::IntArrayRef(want), " ([heads, 2 * kernel_size - 1 per axis])");
  TORCH_CHECK(rpb->scalar_type() == q.scalar_type() || rpb->scalar_type() == accumulate_type(q.scalar_type()),
              "natten::", op, ": rpb has dtype ", rpb->scalar_type(), ", want ", q.scalar_type(), " like q, or ",
              accumulate_type(q.scalar_type()));
  TORCH_CHECK(rpb->device() == q.device(), "natten::", op, ": rpb is on ", rpb->device(), ", want ", q.device(),
              " like q");
  for (int i = 0; i < problem.rank; i++) {
    TORCH_CHECK(!problem.axis[kAxes - problem.rank + i].causal, "natten::", op,
                ": rpb and is_causal exclude each other, but is_causal[", i, "] is true");
  }
}

void check_scale(const char* op, double scale) {
  TORCH_CHECK(std::isfinite(scale), "natten::", op, ": scale is ", scale, ", want a finite number");
}

}  // namespace

Problem check_qk(const char* op, const at::Tensor& q, const at::Tensor& k, const OptionalTensor& rpb,
                 const Geometry& geometry, double scale) {
  Problem problem = check_shape(op, "q", q, geometry);
  check_keys(op, "k", k, q, problem.heads);
  TORCH_CHECK(k.size(-1) == q.size(-1), "natten::", op, ": k has head dim ", k.size(-1), ", want ", q.size(-1),
              " like q");
  problem.kv_heads = k.size(-2);
  check_bias(op, rpb, q, problem);
  check_scale(op, scale);
  problem.scale = scale;
  return problem;
}

Problem check_na(const char* op, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const OptionalTensor& rpb, const Geometry& geometry, c10::optional<double> scale) {
  // A missing scale needs q's last dimension, which check_qk has yet to see.
  Problem problem = check_qk(op, q, k, rpb, geometry, scale.value_or(1.0));
  if (!scale.has_value()) problem.scale = 1.0 / std::sqrt(static_cast<double>(problem.dim));
  check_keys(op, "v", v, q, problem.heads);
  TORCH_CHECK(v.size(-2) == problem.kv_heads, "natten::", op, ": v has ", v.size(-2), " heads, want ", problem.kv_heads,
              " like k");
  TORCH_CHECK(v.size(-1) >= 1, "natten::", op, ": v has a last dimension of ", v.size(-1), ", want at least 1");
  problem.value_dim = v.size(-1);
  return problem;
}

Problem check_av(const char* op, const at::Tensor& attn, const at::Tensor& v, const Geometry& geometry) {
  Problem problem = check_shape(op, "attn", attn, geometry);
  TORCH_CHECK(attn.size(-1) == problem.slots(), "natten::", op, ": attn has ", attn.size(-1),
              " weights per query, want ", problem.slots(), ", the product of kernel_size");
  check_keys(op, "v", v, attn, problem.heads);
  TORCH_CHECK(v.size(-1) >= 1, "natten::", op, ": v has a last dimension of ", v.size(-1), ", want at least 1");
  problem.kv_heads = v.size(-2);
  problem.dim = problem.value_dim = v.size(-1);
  return problem;
}

Problem check_na_backward(const char* op, const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                          const at::Tensor& v, const OptionalTensor& rpb, const at::Tensor& out, const at::Tensor& lse,
                          const Geometry& geometry, c10::optional<double> scale, const OptionalTensor& dlse) {
  const Problem problem = check_na(op, q, k, v, rpb, geometry, scale);
  check_same(op, "dout", dout, token_shape(problem, problem.value_dim), q);
  check_same(op, "out", out, token_shape(problem, problem.value_dim), q);
  check_shaped(op, "lse", lse, token_shape(problem, -1), accumulate_type(q.scalar_type()), q);
  if (has(dlse)) check_shaped(op, "dlse", *dlse, token_shape(problem, -1), accumulate_type(q.scalar_type()), q);
  return problem;
}

Problem check_qk_backward(const char* op, const at::Tensor& dlogits, const at::Tensor& q, const at::Tensor& k,
                          const OptionalTensor& rpb, const Geometry& geometry, double scale) {
  const Problem problem = check_qk(op, q, k, rpb, geometry, scale);
  check_same(op, "dlogits", dlogits, token_shape(problem, problem.slots()), q);
  return problem;
}

Problem check_av_backward(const char* op, const at::Tensor& dout, const at::Tensor& attn, const at::Tensor& v,
                          const Geometry& geometry) {
  const Problem problem = check_av(op, attn, v, geometry);
  check_same(op, "dout", dout, token_shape(problem, problem.value_dim), attn);
  return problem;
}

void check_extra(const char* op, const at::Tensor& q, const at::Tensor& v, const OptionalTensor& extra_k,
                 const OptionalTensor& extra_v, const Problem& problem) {
  TORCH_CHECK(has(extra_k) == has(extra_v), "natten::", op, ": extra_k and extra_v go together, but only ",
              has(extra_k) ? "extra_k" : "extra_v", " is given");
  if (!has(extra_k)) return;
  const int64_t count = extra_k->dim() == 4 ? extra_k->size(1) : 1;
  const int64_t key[] = {problem.batch, count, problem.kv_heads, problem.dim};
  const int64_t value[] = {problem.batch, count, problem.kv_heads, problem.value_dim};
  check_same(op, "extra_k", *extra_k, key, q);
  check_same(op, "extra_v", *extra_v, value, v);
}

void check_dropout(const char* op, double p) {
  TORCH_CHECK(p >= 0 && p < 1, "natten::", op, ": dropout_p is ", p, ", want a probability in [0, 1)");
}

std::vector<int64_t> check_varlen(const char* op, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  at::IntArrayRef sizes, const Geometry& geometry) {
  const int64_t rank = static_cast<int64_t>(geometry.kernel_size.size());
  TORCH_CHECK(rank >= 1 && rank <= kAxes, "natten::", op, ": kernel_size has ", rank, " entries, want 1 to ", kAxes);
  TORCH_CHECK(static_cast<int64_t>(sizes.size()) % rank == 0, "natten::", op, ": sizes has ", sizes.size(),
              " entries, want a multiple of ", rank, ", the spatial sizes of each sample");
  constexpr int64_t most = int64_t{1} << 48;  // tokens: so that no sum overflows
  std::vector<int64_t> lengths;
  int64_t total = 0;
  for (size_t i = 0; i < sizes.size(); i += rank) {
    int64_t length = 1;
    for (int64_t axis = 0; axis < rank; axis++) {
      const int64_t size = sizes[i + axis];
      TORCH_CHECK(size >= 0 && (size == 0 || length <= most / size), "natten::", op, ": sizes[", i + axis, "] is ",
                  size, ", want a spatial size");
      length *= size;
    }
    lengths.push_back(length);
    total += length;
    TORCH_CHECK(total <= most, "natten::", op, ": sizes sum up to ", total, " tokens, want at most ", most);
  }
  for (const auto& [name, t] : {std::pair<const char*, const at::Tensor*>{"q", &q}, {"k", &k}, {"v", &v}}) {
    check_like(op, name, *t, q);
    TORCH_CHECK(t->dim() == 3, "natten::", op, ": ", name, " has ", t->dim(),
                " dimensions, want 3 ([tokens, heads, dim])");
    TORCH_CHECK(t->size(0) == total, "natten::", op, ": ", name, " has ", t->size(0), " tokens, want ", total,
                ", the sum over sizes");
  }
  return lengths;
}

void check_merge(const char* op, at::TensorList outs, at::TensorList lses) {
  TORCH_CHECK(!outs.empty() && outs.size() == lses.size(), "natten::", op, ": outs has ", outs.size(),
              " tensors and lses ", lses.size(), ", want as many of each, at least one");
  const at::Tensor &out = outs[0], &lse = lses[0];
  TORCH_CHECK(out.defined() && lse.defined(), "natten::", op, ": ", out.defined() ? "lses[0]" : "outs[0]",
              " is undefined");
  TORCH_CHECK(supported(out.scalar_type()), "natten::", op, ": outs[0] has dtype ", out.scalar_type(),
              ", want float32, float64, float16 or bfloat16");
  TORCH_CHECK(out.dim() >= 1, "natten::", op, ": outs[0] has 0 dimensions, want at least 1 ([..., dim])");
  TORCH_CHECK(supported(lse.scalar_type()), "natten::", op, ": lses[0] has dtype ", lse.scalar_type(),
              ", want float32, float64, float16 or bfloat16");
  for (size_t i = 0; i < outs.size(); i++) {
    const std::string index = "[" + std::to_string(i) + "]";
    check_same(op, ("outs" + index).c_str(), outs[i], out.sizes(), out);
    check_shaped(op, ("lses" + index).c_str(), lses[i], out.sizes().slice(0, out.dim() - 1), lse.scalar_type(), out);
  }
}

void check_same(const char* op, const char* name, const at::Tensor& t, at::IntArrayRef shape, const at::Tensor& like) {
  check_like(op, name, t, like);
  TORCH_CHECK(t.sizes() == shape, "natten::", op, ": ", name, " has shape ", t.sizes(), ", want ", shape);
}

std::vector<int64_t> token_shape(const Problem& problem, int64_t last) {
  std::vector<int64_t> shape{problem.batch};
  for (int i = kAxes - problem.rank; i < kAxes; i++) shape.push_back(problem.axis[i].length);
  shape.push_back(problem.heads);
  if (last >= 0) shape.push_back(last);
  return shape;
}

std::vector<int64_t> bias_shape(const Problem& problem) {
  std::vector<int64_t> shape{problem.heads};
  for (int i = kAxes - problem.rank; i < kAxes; i++) shape.push_back(2 * problem.axis[i].kernel - 1);
  return shape;
}

at::ScalarType accumulate_type(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

}  // namespace natten

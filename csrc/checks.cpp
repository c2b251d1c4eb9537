#include "checks.h"

#include <c10/util/Exception.h>

#include <cmath>

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

void check_like(const char* op, const char* name, const at::Tensor& t, const at::Tensor& q) {
  TORCH_CHECK(t.defined(), "natten::", op, ": ", name, " is undefined");
  TORCH_CHECK(t.scalar_type() == q.scalar_type(), "natten::", op, ": ", name, " has dtype ", t.scalar_type(), ", want ",
              q.scalar_type(), " like the first argument");
  TORCH_CHECK(t.device() == q.device(), "natten::", op, ": ", name, " is on ", t.device(), ", want ", q.device(),
              " like the first argument");
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

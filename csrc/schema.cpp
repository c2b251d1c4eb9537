// Operator schemas. A fragment, because Python's NATTEN registers its own
// operators in the same namespace.
//
// Tensors are heads-last: q and k [B, *spatial, H, D], v [B, *spatial, H, Dv],
// rpb [H, 2K-1 per axis]; the rank (1, 2 or 3) is the length of kernel_size.
// lse is [B, *spatial, H]. The public operators are differentiable; the
// underscored ones are what their derivatives are made of.
#include <torch/library.h>

#define NATTEN_GEOMETRY "int[] kernel_size, int[] dilation, bool[] is_causal"

TORCH_LIBRARY_FRAGMENT(natten, m) {
  m.def("na(Tensor q, Tensor k, Tensor v, Tensor? rpb, " NATTEN_GEOMETRY
        ", float? scale=None, int[] stride=[], Tensor? extra_k=None, Tensor? extra_v=None, float dropout_p=0.0, "
        "int? seed=None) -> Tensor");
  m.def("na_lse(Tensor q, Tensor k, Tensor v, Tensor? rpb, " NATTEN_GEOMETRY
        ", float? scale=None, int[] stride=[]) -> (Tensor out, Tensor lse)");
  m.def("na_qk(Tensor q, Tensor k, Tensor? rpb, " NATTEN_GEOMETRY ", float scale=1.0, int[] stride=[]) -> Tensor");
  m.def("na_av(Tensor attn, Tensor v, " NATTEN_GEOMETRY ", int[] stride=[]) -> Tensor");

  // Tokens of all samples behind each other: q [tokens, H, D], and sizes the spatial sizes, rank per sample.
  m.def("na_varlen(Tensor q, Tensor k, Tensor v, Tensor? rpb, int[] sizes, " NATTEN_GEOMETRY
        ", float? scale=None, int[] stride=[]) -> Tensor");
  // Attention over disjoint sets of keys, combined as if it had been one softmax.
  m.def("merge_attentions(Tensor[] outs, Tensor[] lses) -> (Tensor out, Tensor lse)");

  // Compute capability of a CUDA device, major * 10 + minor; implemented where CUDA kernels are loaded.
  m.def("_cuda_capability(int device) -> int");

  m.def("_na_forward(Tensor q, Tensor k, Tensor v, Tensor? rpb, " NATTEN_GEOMETRY
        ", float? scale, int[] stride) -> (Tensor out, Tensor lse)");
  m.def("_na_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor? rpb, Tensor out, Tensor lse, " NATTEN_GEOMETRY
        ", float? scale, int[] stride, bool rpb_grad, Tensor? dlse=None) -> (Tensor dq, Tensor dk, Tensor dv, "
        "Tensor drpb)");
  m.def("_na_qk_backward(Tensor dlogits, Tensor q, Tensor k, Tensor? rpb, " NATTEN_GEOMETRY
        ", float scale, int[] stride, bool rpb_grad) -> (Tensor dq, Tensor dk, Tensor drpb)");
  m.def("_na_av_backward(Tensor dout, Tensor attn, Tensor v, " NATTEN_GEOMETRY
        ", int[] stride) -> (Tensor dattn, Tensor dv)");
}

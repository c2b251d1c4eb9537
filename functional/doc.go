// Package functional has neighborhood attention as stateless functions on
// gotch tensors, for autograd and without: NA1D, NA2D and NA3D (fused), and the
// unfused pair NA1DQK, NA1DAV and so on, whose attention weights can be seen.
//
// Every query attends to the kernel_size keys nearest to it along each axis,
// dilation tokens apart; at the ends of an axis the window shifts inwards and
// stays full. With is_causal an axis looks only backwards. A relative
// positional bias (rpb) of shape [heads, 2*kernel_size-1 per axis] is added to
// the scaled logits, indexed by (key - query)/dilation + kernel_size - 1.
//
// Sources: Neighborhood Attention Transformer (arXiv 2204.07143, eq. 1-4),
// Dilated Neighborhood Attention Transformer (arXiv 2209.15001, eq. 1-3),
// Generalized Neighborhood Attention (arXiv 2504.16922) for stride.
//
// Tensors are heads-last, [batch, *spatial, heads, head_dim], or heads-first,
// [batch, heads, *spatial, head_dim]; see [Layout]. Any strides will do as long
// as the last dimension is contiguous: views of one qkv projection are not
// copied. float64, float32, float16 and bfloat16 are supported; the last two
// accumulate in float32.
//
// The fused functions keep nothing of size tokens x kernel_size: memory is the
// output, one float per query and head, and for gradients one tensor each of
// the size of q, k and v; while a call runs, on the CPU also some megabytes a
// thread (with a bias up to 64 bytes for each of its entries a head, forward
// and backward each) and about 200 bytes for each token of the last axis.
//
// Functions return an error that names the function, the argument, its value
// and the limit. The Must variants panic with an [*Error] instead.
package functional

// Package definition computes neighborhood attention straight from its
// definition, in float64 and in plain loops: what the operators are compared
// with. It is slow on purpose and shares no code with them.
//
// Windows are found by distance ("the kernel_size members of the dilation group
// nearest to the query") and not by the clamped start that the kernels use, so
// that a mistake in the one is not repeated in the other.
//
// Sources: arXiv 2204.07143 (windows, relative positional bias), arXiv
// 2209.15001 (dilation), arXiv 2504.16922 (stride: a group of queries shares
// the window of its leader; even kernels; causal axes).
package definition

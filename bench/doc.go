// Package bench measures neighborhood attention against its peers in libtorch:
// the unfused pair of this project, dense attention over all tokens
// (scaled_dot_product_attention) and, as the yardstick of the machine, a
// matrix product.
//
// The contenders of one shape run in turn, round after round, in one process
// and are judged by medians, so that a machine whose speed drifts does not
// favour one of them. Times include all that a user pays: dispatch, checks and
// fresh outputs.
package bench

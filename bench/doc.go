// Package bench measures neighborhood attention against its peers in libtorch:
// the unfused pair of this project, dense attention over all tokens
// (scaled_dot_product_attention) and, as the yardstick of the machine, a
// matrix product.
//
// The contenders of one shape take turns, round after round, in one process
// and are judged by medians, so that a machine whose speed drifts does not
// favour one of them. In its turn a contender runs once, then for a block of
// some 20 ms whose mean is the round's figure, as in torch.utils.benchmark;
// the first call, made when the others have swept the caches, is kept apart.
// Times include all that a user pays: dispatch, checks and fresh outputs.
package bench

// Package autograd has what gotch leaves out of automatic differentiation:
// gradients as values that can be differentiated again, forward-mode duals,
// regions without gradients, mixed precision. (Its gradient scaler is in
// train/optim.)
//
// Gradient mode and autocast belong to the OS thread: the functions that take
// a callback keep its goroutine on one thread. Every function works with any
// operator of libtorch, the neighborhood attention operators included.
package autograd

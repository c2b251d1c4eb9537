// Package optim updates parameters from their gradients: AdamW, SGD with
// momentum, LAMB, gradient clipping and the moving average of weights.
//
// Everything here works on all parameters of a group in one call of libtorch's
// fused or foreach operators, so that a step costs a few calls whatever the
// number of parameters. Parameters are gotch tensors that require gradients;
// who uses this package runs it on the OS thread that computed the gradients.
package optim

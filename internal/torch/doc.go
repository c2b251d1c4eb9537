// Package torch is the project's single bridge to libtorch and libnatten: the
// only package that imports "C".
//
// [Op] calls any operator of libtorch's dispatcher by name and returns its
// failure as a Go error of that call. [Scope] owns the intermediate tensors of
// a computation and remembers the first error, so that a layer reads as a
// sequence of operations and neither leaks nor checks after each line.
// The rest is small: facts about tensors, bytes in and out, gradients, modes.
//
// Tensors are gotch's *ts.Tensor throughout; whoever receives one from here
// drops it, or hands it to a Scope.
package torch

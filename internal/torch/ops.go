package torch

import (
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"
)

// The operators that layers, models and the trainer use, by the names they
// have in PyTorch. Each is one call; see PyTorch's documentation of the same
// name for shapes.
var (
	opLinear       = NewOp("aten::linear")
	opLayerNorm    = NewOp("aten::layer_norm")
	opGELU         = NewOp("aten::gelu")
	opConv2d       = NewOp("aten::conv2d")
	opSoftmax      = NewOp("aten::softmax.int")
	opDropout      = NewOp("aten::dropout")
	opAdd          = NewOp("aten::add.Tensor")
	opSub          = NewOp("aten::sub.Tensor")
	opMul          = NewOp("aten::mul.Tensor")
	opMulScalar    = NewOp("aten::mul.Scalar")
	opMatmul       = NewOp("aten::matmul")
	opReshape      = NewOp("aten::reshape")
	opView         = NewOp("aten::view")
	opPermute      = NewOp("aten::permute")
	opTranspose    = NewOp("aten::transpose.int")
	opMovedim      = NewOp("aten::movedim.int")
	opContiguous   = NewOp("aten::contiguous")
	opFlatten      = NewOp("aten::flatten.using_ints")
	opUnflatten    = NewOp("aten::unflatten.int")
	opUnbind       = NewOp("aten::unbind.int")
	opSelect       = NewOp("aten::select.int")
	opSlice        = NewOp("aten::slice.Tensor")
	opNarrow       = NewOp("aten::narrow")
	opCat          = NewOp("aten::cat")
	opStack        = NewOp("aten::stack")
	opPad          = NewOp("aten::constant_pad_nd")
	opSum          = NewOp("aten::sum")
	opSumDim       = NewOp("aten::sum.dim_IntList")
	opMeanDim      = NewOp("aten::mean.dim")
	opToDType      = NewOp("aten::to.dtype")
	opToDevice     = NewOp("aten::to.device")
	opDetach       = NewOp("aten::detach")
	opClone        = NewOp("aten::clone")
	opCopy         = NewOp("aten::copy_")
	opZeros        = NewOp("aten::zeros")
	opFull         = NewOp("aten::full")
	opRandn        = NewOp("aten::randn")
	opRand         = NewOp("aten::rand")
	opBernoulli    = NewOp("aten::bernoulli.p")
	opRequiresGrad = NewOp("aten::requires_grad_")
	opCrossEntropy = NewOp("aten::cross_entropy_loss")
)

// Linear is x W^T + b over the last dimension; b may be nil.
func (s *Scope) Linear(x, weight, bias *ts.Tensor) *ts.Tensor {
	return s.Op(opLinear, x, weight, bias)
}

// LayerNorm normalises over the last len(shape) dimensions; weight and bias may be nil.
func (s *Scope) LayerNorm(x *ts.Tensor, shape []int64, weight, bias *ts.Tensor, eps float64) *ts.Tensor {
	return s.Op(opLayerNorm, x, shape, weight, bias, eps)
}

// GELU is the exact one, by erf.
func (s *Scope) GELU(x *ts.Tensor) *ts.Tensor { return s.Op(opGELU, x) }

// Conv2d convolves [B, C, H, W]; stride and padding are the same on both axes.
func (s *Scope) Conv2d(x, weight, bias *ts.Tensor, stride, padding int64) *ts.Tensor {
	return s.Op(opConv2d, x, weight, bias, []int64{stride, stride}, []int64{padding, padding})
}

// Softmax along dim.
func (s *Scope) Softmax(x *ts.Tensor, dim int64) *ts.Tensor { return s.Op(opSoftmax, x, dim) }

// Dropout zeroes elements with probability p and scales the rest by 1/(1-p) while training.
func (s *Scope) Dropout(x *ts.Tensor, p float64, train bool) *ts.Tensor {
	if p == 0 || !train {
		return x
	}
	return s.Op(opDropout, x, p, train)
}

// Add is x + y.
func (s *Scope) Add(x, y *ts.Tensor) *ts.Tensor { return s.Op(opAdd, x, y) }

// Sub is x - y.
func (s *Scope) Sub(x, y *ts.Tensor) *ts.Tensor { return s.Op(opSub, x, y) }

// Mul is x * y, elementwise.
func (s *Scope) Mul(x, y *ts.Tensor) *ts.Tensor { return s.Op(opMul, x, y) }

// MulScalar is x * y.
func (s *Scope) MulScalar(x *ts.Tensor, y float64) *ts.Tensor { return s.Op(opMulScalar, x, y) }

// Matmul is the batched matrix product.
func (s *Scope) Matmul(x, y *ts.Tensor) *ts.Tensor { return s.Op(opMatmul, x, y) }

// Reshape views where it can and copies where it must.
func (s *Scope) Reshape(x *ts.Tensor, shape ...int64) *ts.Tensor { return s.Op(opReshape, x, shape) }

// View never copies.
func (s *Scope) View(x *ts.Tensor, shape ...int64) *ts.Tensor { return s.Op(opView, x, shape) }

// Permute reorders dimensions.
func (s *Scope) Permute(x *ts.Tensor, dims ...int64) *ts.Tensor { return s.Op(opPermute, x, dims) }

// Transpose swaps two dimensions.
func (s *Scope) Transpose(x *ts.Tensor, a, b int64) *ts.Tensor { return s.Op(opTranspose, x, a, b) }

// Movedim moves dimension from to place to.
func (s *Scope) Movedim(x *ts.Tensor, from, to int64) *ts.Tensor { return s.Op(opMovedim, x, from, to) }

// Contiguous copies x into row-major order unless it is in it.
func (s *Scope) Contiguous(x *ts.Tensor) *ts.Tensor { return s.Op(opContiguous, x) }

// Flatten merges dimensions start to end.
func (s *Scope) Flatten(x *ts.Tensor, start, end int64) *ts.Tensor {
	return s.Op(opFlatten, x, start, end)
}

// Unflatten splits dimension dim into several; one of them may be -1.
func (s *Scope) Unflatten(x *ts.Tensor, dim int64, sizes ...int64) *ts.Tensor {
	return s.Op(opUnflatten, x, dim, sizes)
}

// Unbind splits along dim into views without it.
func (s *Scope) Unbind(x *ts.Tensor, dim int64) []*ts.Tensor { return s.List(opUnbind, x, dim) }

// Select is the view at index along dim.
func (s *Scope) Select(x *ts.Tensor, dim, index int64) *ts.Tensor {
	return s.Op(opSelect, x, dim, index)
}

// Slice is the view start:end:step along dim.
func (s *Scope) Slice(x *ts.Tensor, dim, start, end, step int64) *ts.Tensor {
	return s.Op(opSlice, x, dim, start, end, step)
}

// Narrow is the view of length entries from start along dim.
func (s *Scope) Narrow(x *ts.Tensor, dim, start, length int64) *ts.Tensor {
	return s.Op(opNarrow, x, dim, start, length)
}

// Cat joins along dim.
func (s *Scope) Cat(tensors []*ts.Tensor, dim int64) *ts.Tensor { return s.Op(opCat, tensors, dim) }

// Stack joins along a new dim.
func (s *Scope) Stack(tensors []*ts.Tensor, dim int64) *ts.Tensor {
	return s.Op(opStack, tensors, dim)
}

// Pad appends zeros: pad holds (before, after) per dimension, last dimension first.
func (s *Scope) Pad(x *ts.Tensor, pad ...int64) *ts.Tensor { return s.Op(opPad, x, pad) }

// Sum of all elements.
func (s *Scope) Sum(x *ts.Tensor) *ts.Tensor { return s.Op(opSum, x) }

// SumDim sums over dims.
func (s *Scope) SumDim(x *ts.Tensor, keepdim bool, dims ...int64) *ts.Tensor {
	return s.Op(opSumDim, x, dims, keepdim)
}

// MeanDim averages over dims.
func (s *Scope) MeanDim(x *ts.Tensor, keepdim bool, dims ...int64) *ts.Tensor {
	return s.Op(opMeanDim, x, dims, keepdim)
}

// To converts the dtype; the same tensor where it has it already.
func (s *Scope) To(x *ts.Tensor, dtype gotch.DType) *ts.Tensor { return s.Op(opToDType, x, dtype) }

// ToDevice moves to a device and dtype.
func (s *Scope) ToDevice(x *ts.Tensor, device Device, dtype gotch.DType) *ts.Tensor {
	return s.Op(opToDevice, x, device, dtype)
}

// Detach shares the data without the gradient history.
func (s *Scope) Detach(x *ts.Tensor) *ts.Tensor { return s.Op(opDetach, x) }

// Clone copies.
func (s *Scope) Clone(x *ts.Tensor) *ts.Tensor { return s.Op(opClone, x) }

// Copy overwrites dst with src, converting dtype and device and broadcasting.
func (s *Scope) Copy(dst, src *ts.Tensor) { s.Op(opCopy, dst, src) }

// Zeros makes a tensor of zeros.
func (s *Scope) Zeros(shape []int64, dtype gotch.DType, device Device) *ts.Tensor {
	return s.Op(opZeros, shape, dtype, Default, device)
}

// Full makes a tensor of one value.
func (s *Scope) Full(shape []int64, value float64, dtype gotch.DType, device Device) *ts.Tensor {
	return s.Op(opFull, shape, value, dtype, Default, device)
}

// Randn draws from the standard normal distribution.
func (s *Scope) Randn(shape []int64, dtype gotch.DType, device Device) *ts.Tensor {
	return s.Op(opRandn, shape, dtype, Default, device)
}

// Rand draws from [0, 1).
func (s *Scope) Rand(shape []int64, dtype gotch.DType, device Device) *ts.Tensor {
	return s.Op(opRand, shape, dtype, Default, device)
}

// Bernoulli draws ones with probability p, zeros else, in the shape of x.
func (s *Scope) Bernoulli(x *ts.Tensor, p float64) *ts.Tensor { return s.Op(opBernoulli, x, p) }

// RequiresGrad marks a leaf, in place.
func (s *Scope) RequiresGrad(x *ts.Tensor, required bool) { s.Op(opRequiresGrad, x, required) }

// CrossEntropy is the mean cross-entropy of logits [B, C] and labels (int64
// classes [B] or probabilities [B, C]).
func (s *Scope) CrossEntropy(logits, labels *ts.Tensor, labelSmoothing float64) *ts.Tensor {
	const mean, ignoreIndex = 1, -100
	return s.Op(opCrossEntropy, logits, labels, nil, mean, ignoreIndex, labelSmoothing)
}

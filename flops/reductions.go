package flops

// reductionHandlers are softmax, sums and their like, and losses.
var reductionHandlers = map[string]Handler{
	"aten::softmax":          softmax,
	"aten::_softmax":         softmax,
	"aten::special_softmax":  softmax,
	"aten::log_softmax":      logSoftmax,
	"aten::_log_softmax":     logSoftmax,
	"aten::logsumexp":        logSumExp,
	"aten::sum":              reduce,
	"aten::prod":             reduce,
	"aten::amax":             reduce,
	"aten::amin":             reduce,
	"aten::max":              extremum,
	"aten::min":              extremum,
	"aten::argmax":           reduce,
	"aten::argmin":           reduce,
	"aten::mean":             mean,
	"aten::var":              variance,
	"aten::std":              deviation,
	"aten::var_mean":         variance,
	"aten::std_mean":         deviation,
	"aten::cumsum":           cumulative,
	"aten::cumprod":          cumulative,
	"aten::norm":             vectorNorm,
	"aten::nll_loss":         nllLoss,
	"aten::nll_loss_nd":      nllLoss,
	"aten::nll_loss2d":       nllLoss,
	"aten::nll_loss_forward": nllLoss,
	"aten::mse_loss":         squaredError,
	"aten::trace":            reduceDiagonal,
}

// softmax along a dimension of n: 5n-2 per row (maximum n-1, subtract n, exp n,
// sum n-1, divide n).
func softmax(op *Op) Cost {
	cost := Cost{FLOPs: 5*op.Numel(0) - 2*rows(op)}
	cost.Label = "softmax"
	return cost
}

// logSoftmax: 5n-1 per row (maximum n-1, subtract n, exp n, sum n-1, log 1, subtract n).
func logSoftmax(op *Op) Cost {
	cost := Cost{FLOPs: 5*op.Numel(0) - rows(op)}
	cost.Label = "log_softmax"
	return cost
}

// logSumExp: 4n per row (maximum n-1, subtract n, exp n, sum n-1, log and sum).
func logSumExp(op *Op) Cost { return Cost{FLOPs: 4 * op.Numel(0)} }

// rows is how many vectors along the dimension in argument 1 there are.
func rows(op *Op) int64 {
	shape := op.Shape(0)
	if len(shape) == 0 {
		return 1
	}
	dim := op.Int(1, -1)
	if dim < 0 {
		dim += int64(len(shape))
	}
	return op.Numel(0) / max(shape[dim], 1)
}

// reduce combines n elements into m by n-m operations.
func reduce(op *Op) Cost {
	if !op.floating() {
		return Cost{}
	}
	return Cost{FLOPs: max(op.Numel(0)-op.OutNumel(0), 0)}
}

// extremum is max or min: of two tensors elementwise, of one by reduction.
func extremum(op *Op) Cost {
	if op.Overload == "other" {
		return perOutput(1)(op)
	}
	return reduce(op)
}

// mean of n elements each into m: n-m additions and m divisions.
func mean(op *Op) Cost { return Cost{FLOPs: op.Numel(0)} }

// variance: mean n, differences n, squares n, sums n-m, divisions m.
func variance(op *Op) Cost { return Cost{FLOPs: 4 * op.Numel(0)} }

// deviation is the variance and m roots.
func deviation(op *Op) Cost { return Cost{FLOPs: 4*op.Numel(0) + op.OutNumel(0)} }

// cumulative sums along a dimension of n: n-1 per row.
func cumulative(op *Op) Cost {
	if !op.floating() {
		return Cost{}
	}
	return Cost{FLOPs: op.Numel(0) - rows(op)}
}

// nllLoss picks a logarithm per sample: negated, weighted where there are
// weights (argument 2), and for the mean or sum (argument 3: 1, 2) added up and
// divided: 2 per sample.
func nllLoss(op *Op) Cost {
	samples := op.Numel(1)
	per := int64(1)
	if op.Has(2) {
		per++
	}
	if op.Int(3, 1) != 0 {
		per++
	}
	return Cost{FLOPs: per * samples, Label: "nll_loss"}
}

// squaredError: difference and square, and for the mean or sum an addition.
func squaredError(op *Op) Cost {
	per := int64(2)
	if op.Int(2, 1) != 0 {
		per++
	}
	return Cost{FLOPs: per * op.Numel(0)}
}

// reduceDiagonal adds up min(rows, columns) elements.
func reduceDiagonal(op *Op) Cost {
	shape := op.Shape(0)
	return Cost{FLOPs: max(min(shape[0], shape[1])-1, 0)}
}

package flops

// normHandlers are the normalisations. They have no MACs under [Exact].
var normHandlers = map[string]Handler{
	"aten::layer_norm":         layerNorm,
	"aten::native_layer_norm":  layerNorm,
	"aten::group_norm":         groupNorm,
	"aten::native_group_norm":  nativeGroupNorm,
	"aten::instance_norm":      instanceNorm,
	"aten::batch_norm":         batchNorm,
	"aten::native_batch_norm":  batchNorm,
	"aten::cudnn_batch_norm":   batchNorm,
	"aten::rms_norm":           rmsNorm,
	"aten::linalg_vector_norm": vectorNorm,
	"aten::_foreach_norm":      foreachNorm,
}

// normalisation of `groups` groups of n elements each:
//
//	mean                     n      (n-1 additions, 1 division)
//	variance                 3n     (subtract, square, add; 1 division)
//	1/sqrt(variance + eps)   3
//	(x - mean)·that          n      (the difference is the variance's)
//	weight, bias             n each
//
// that is 5n+3 without, 7n+3 with weight and bias.
func normalisation(groups, n int64, weight, bias bool) Cost {
	per := int64(5)
	if weight {
		per++
	}
	if bias {
		per++
	}
	return Cost{FLOPs: groups * (per*n + 3)}
}

// layerNorm is layer_norm(input, normalized_shape, weight, bias): see
// normalisation, a group being the elements of normalized_shape.
func layerNorm(op *Op) Cost {
	n := product(op.Ints(1))
	if n == 0 {
		return Cost{Label: "layer_norm"}
	}
	cost := normalisation(op.Numel(0)/n, n, op.Has(2), op.Has(3))
	cost.Label = "layer_norm"
	return cost
}

// groupNorm is group_norm(input, num_groups, weight, bias): B·num_groups groups.
func groupNorm(op *Op) Cost {
	groups := op.Shape(0)[0] * op.Int(1, 1)
	return normalisation(groups, op.Numel(0)/max(groups, 1), op.Has(2), op.Has(3))
}

// nativeGroupNorm is native_group_norm(input, weight, bias, N, C, HxW, groups, eps).
func nativeGroupNorm(op *Op) Cost {
	groups := op.Int(3, 1) * op.Int(6, 1)
	cost := normalisation(groups, op.Numel(0)/max(groups, 1), op.Has(1), op.Has(2))
	cost.Label = "group_norm"
	return cost
}

// instanceNorm is instance_norm(input [B, C, ..], weight, bias, ...): B·C groups.
func instanceNorm(op *Op) Cost {
	groups := product(op.Shape(0)[:2])
	return normalisation(groups, op.Numel(0)/max(groups, 1), op.Has(1), op.Has(2))
}

// batchNorm is batch_norm(input [B, C, ..], weight, bias, mean, var, training):
//
//	training:   normalisation of C groups, + 6C where running statistics are kept
//	evaluation: 2 per element (a scale and a shift per channel), which take per channel
//	            3 for 1/sqrt(var + eps), 1 for the shift, + 1 with weight, + 1 with bias
func batchNorm(op *Op) Cost {
	shape := op.Shape(0)
	channels := shape[1]
	n := op.Numel(0)
	var cost Cost
	if op.Bool(5) {
		cost = normalisation(channels, n/max(channels, 1), op.Has(1), op.Has(2))
		if op.Has(3) {
			cost.FLOPs += 6 * channels
		}
	} else {
		per := int64(4)
		if op.Has(1) {
			per++
		}
		if op.Has(2) {
			per++
		}
		cost.FLOPs = 2*n + per*channels
	}
	cost.Label = "batch_norm"
	return cost
}

// rmsNorm is rms_norm(input, normalized_shape, weight): per group of n squares
// n, their sum n-1, the mean 1, 1/sqrt(mean + eps) 3, times the input n, times
// the weight n: 3n+3, with weight 4n+3.
func rmsNorm(op *Op) Cost {
	n := product(op.Ints(1))
	per := 3*n + 3
	if op.Has(2) {
		per += n
	}
	return Cost{FLOPs: op.Numel(0) / max(n, 1) * per}
}

// vectorNorm is the 2-norm of n elements into m results: squares n, sums n-m, roots m.
func vectorNorm(op *Op) Cost { return Cost{FLOPs: 2 * op.Numel(0)} }

// foreachNorm is vectorNorm of every tensor of a list.
func foreachNorm(op *Op) Cost {
	var n int64
	for _, t := range op.Tensors(0) {
		n += 2 * t.Numel()
	}
	return Cost{FLOPs: n}
}

package flops

// backwardHandlers are the operators that only derivatives call; a linear
// layer's are matrix products and need none.
var backwardHandlers = map[string]Handler{
	"aten::convolution_backward":                                 convolutionBackward,
	"aten::native_layer_norm_backward":                           layerNormBackward,
	"aten::native_group_norm_backward":                           groupNormBackward,
	"aten::native_batch_norm_backward":                           batchNormBackward,
	"aten::_softmax_backward_data":                               softmaxBackward,
	"aten::_log_softmax_backward_data":                           softmaxBackward,
	"aten::gelu_backward":                                        geluBackward,
	"aten::threshold_backward":                                   perOutput(1), // compare
	"aten::sigmoid_backward":                                     perOutput(3), // dy·y·(1-y)
	"aten::tanh_backward":                                        perOutput(3), // dy·(1-y²)
	"aten::silu_backward":                                        perOutput(9), // sigmoid 4, dy·s·(1 + x·(1-s)) 5
	"aten::leaky_relu_backward":                                  perOutput(2), // compare, product
	"aten::hardtanh_backward":                                    perOutput(2), // 2 comparisons
	"aten::elu_backward":                                         perOutput(4), // compare, exp, 2 products
	"aten::native_dropout_backward":                              perOutput(2), // mask, scale
	"aten::hardswish_backward":                                   perOutput(6), // 2 comparisons, dy·(x/3 + 0.5): 3, select 1
	"aten::softplus_backward":                                    perOutput(4), // exp, product, sum, division
	"aten::nll_loss_backward":                                    lossBackward,
	"aten::nll_loss2d_backward":                                  lossBackward,
	"aten::mse_loss_backward":                                    perOutput(3), // 2·(x-y)·dy/n
	"aten::embedding_dense_backward":                             accumulate,
	"aten::embedding_backward":                                   accumulate,
	"aten::index_add":                                            accumulateInto,
	"aten::scatter_add":                                          accumulateInto,
	"aten::max_pool2d_with_indices_backward":                     accumulate,
	"aten::max_pool3d_with_indices_backward":                     accumulate,
	"aten::avg_pool2d_backward":                                  avgPoolBackward,
	"aten::_adaptive_avg_pool2d_backward":                        adaptivePoolBackward,
	"aten::_scaled_dot_product_flash_attention_for_cpu_backward": denseAttentionBackward(7, 8),
	"aten::_scaled_dot_product_flash_attention_backward":         denseAttentionBackward(11, -1),
	"aten::_scaled_dot_product_efficient_attention_backward":     denseAttentionBackward(11, 4),
	"aten::_scaled_dot_product_cudnn_attention_backward":         denseAttentionBackward(14, 8),
}

// convolutionBackward(grad, input, weight, bias_sizes, stride, padding,
// dilation, transposed, output_padding, groups, mask): the gradients of input
// and weight take the forward's MACs each, that of the bias adds up grad:
//
//	MACs  = forward · (wanted of input, weight)
//	FLOPs = 2·MACs (+ elements of grad - channels)
func convolutionBackward(op *Op) Cost {
	mask := op.Bools(10)
	want := func(i int) bool { return i < len(mask) && mask[i] }
	forward := convolutionMACs(op.Shape(1), op.Shape(2), op.Shape(0), op.Bool(7))
	var cost Cost
	for i := range 2 {
		if want(i) {
			cost.MACs += forward
		}
	}
	cost.FLOPs = 2 * cost.MACs
	if want(2) {
		cost.FLOPs += op.Numel(0) - op.OutNumel(2)
	}
	cost.Label = "conv_backward"
	return cost
}

// normBackward of `groups` groups of n, from mean and 1/sqrt(var): with
// x̂ = (x-mean)·rstd and g = dy·weight,
//
//	dx = rstd·(g - mean(g) - x̂·mean(g·x̂)):
//	    x̂ 2n, g n with weight, two sums 3n-2 (n-1, and 2n-1 with the products), two means 2,
//	    the combination 4n: 9n (+ n with weight)
//	dweight = sum of dy·x̂ : one product and, but for the first of each, one sum per element
//	dbias   = sum of dy   : one sum per element, but for the first of each
//
// `parameters` is the number of elements of weight and bias.
func normBackward(groups, n, parameters int64, weight bool, mask []bool) Cost {
	elements := groups * n
	want := func(i int) bool { return i < len(mask) && mask[i] }
	var flops int64
	if want(0) {
		flops += 9 * elements
		if weight {
			flops += elements
		}
	}
	if want(1) {
		flops += 2*elements - parameters
		if !want(0) {
			flops += 2 * elements // x̂
		}
	}
	if want(2) {
		flops += elements - parameters
	}
	return Cost{FLOPs: flops}
}

// layerNormBackward(grad, input, normalized_shape, mean, rstd, weight, bias, mask), see normBackward.
func layerNormBackward(op *Op) Cost {
	n := product(op.Ints(2))
	cost := normBackward(op.Numel(0)/max(n, 1), n, n, op.Has(5), op.Bools(7))
	cost.Label = "layer_norm_backward"
	return cost
}

// groupNormBackward(grad, input, mean, rstd, weight, N, C, HxW, groups, mask), see normBackward.
func groupNormBackward(op *Op) Cost {
	groups := op.Int(5, 1) * op.Int(8, 1)
	cost := normBackward(groups, op.Numel(0)/max(groups, 1), op.Int(6, 1), op.Has(4), op.Bools(9))
	cost.Label = "group_norm_backward"
	return cost
}

// batchNormBackward(grad, input, weight, running_mean, running_var, mean,
// invstd, training, eps, mask): training as normBackward of C groups; in
// evaluation the statistics are constants and dx is 1 per element and channel.
func batchNormBackward(op *Op) Cost {
	channels := op.Shape(1)[1]
	n := op.Numel(1) / max(channels, 1)
	mask := op.Bools(9)
	cost := normBackward(channels, n, channels, op.Has(2), mask)
	if !op.Bool(7) && len(mask) > 0 && mask[0] {
		full := normBackward(channels, n, channels, op.Has(2), []bool{true, false, false})
		cost.FLOPs += op.Numel(1) + channels - full.FLOPs
		if len(mask) > 1 && mask[1] {
			cost.FLOPs += 2 * op.Numel(1)
		}
	}
	cost.Label = "batch_norm_backward"
	return cost
}

// softmaxBackward: dx = y·(dy - sum(dy·y)), per row n + (n-1) + n + n = 4n-1; of
// log_softmax dx = dy - exp(y)·sum(dy), (n-1) + n + n + n, as many.
func softmaxBackward(op *Op) Cost {
	shape := op.Shape(0)
	if len(shape) == 0 {
		return Cost{FLOPs: 3}
	}
	dim := op.Int(2, -1)
	if dim < 0 {
		dim += int64(len(shape))
	}
	return Cost{FLOPs: 4*op.Numel(0) - op.Numel(0)/max(shape[dim], 1), Label: "softmax_backward"}
}

// geluBackward: exact dy·(cdf + x·pdf) is 11 (cdf: product, erf, sum, product;
// pdf: square, product, exp, product; combined 3); by tanh 18 (inner 5, tanh 1,
// 0.5·x 1, 1+tanh 1, their product's derivative: 1 + 2 + 3 + 2, sum and dy 2).
func geluBackward(op *Op) Cost {
	if op.Text(2) == "tanh" {
		return Cost{FLOPs: 18 * op.OutNumel(0)}
	}
	return Cost{FLOPs: 11 * op.OutNumel(0)}
}

// lossBackward(grad, input, target, ...): a negation and a division per sample.
func lossBackward(op *Op) Cost { return Cost{FLOPs: 2 * op.Numel(2), Label: "nll_loss_backward"} }

// accumulate adds every element of the incoming gradient somewhere.
func accumulate(op *Op) Cost { return Cost{FLOPs: op.Numel(0)} }

// accumulateInto(self, dim, index, source) adds every element of source.
func accumulateInto(op *Op) Cost { return Cost{FLOPs: op.Numel(3)} }

// avgPoolBackward(grad, input, kernel, ...): a division per element of grad and
// an addition per element of its window.
func avgPoolBackward(op *Op) Cost {
	window := int64(1)
	for a := range 2 {
		window *= each(op.Ints(2), a, 1)
	}
	return Cost{FLOPs: op.Numel(0) * (1 + window)}
}

// adaptivePoolBackward(grad, input): a division per element of grad and an
// addition for each element of its window.
func adaptivePoolBackward(op *Op) Cost {
	grad, input := op.Shape(0), op.Shape(1)
	forward := &Op{Inputs: []any{&Tensor{Shape: input}}, Outputs: []any{&Tensor{Shape: grad}}}
	return Cost{FLOPs: op.Numel(0) + adaptive(forward, 2)}
}

// denseAttentionBackward(dout, q, k, v, ...) counts as neighborhoodBackward does,
// on dense attention's pairs; `causal` and `mask` are where the kernel takes
// these (mask -1: nowhere).
func denseAttentionBackward(causal, mask int) Handler {
	return func(op *Op) Cost {
		l := denseLogits(&Op{Inputs: op.Inputs[1:]}, op.Bool(causal), mask-1)
		further := 4*l.pairs + l.queries*(2*l.value-1+2*l.dim)
		if l.bias {
			further += l.pairs
		}
		cost := macs(l.pairs*(3*l.dim+2*l.value), further)
		cost.Label = "sdpa_backward"
		return cost
	}
}

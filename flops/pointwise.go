package flops

import "strings"

// perElement are the FLOPs per element of the result of elementwise operators
// on floating-point numbers; on integers and booleans they cost nothing.
var perElement = map[string]int64{
	// One operation or function.
	"sub": 1, "mul": 1, "div": 1, "neg": 1, "abs": 1, "sign": 1, "maximum": 1, "minimum": 1, "fmax": 1, "fmin": 1,
	"relu": 1, "threshold": 1, "floor": 1, "ceil": 1, "round": 1, "trunc": 1, "frac": 2, "fmod": 1, "remainder": 1,
	"floor_divide": 1, "true_divide": 1, "divide": 1, "multiply": 1, "subtract": 1, "reciprocal": 1, "sqrt": 1,
	"exp": 1, "exp2": 1, "expm1": 1, "log": 1, "log2": 1, "log10": 1, "log1p": 1, "pow": 1, "float_power": 1,
	"erf": 1, "erfc": 1, "erfinv": 1, "tanh": 1, "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1,
	"sinh": 1, "cosh": 1, "atan2": 1, "hypot": 4, "clamp_min": 1, "clamp_max": 1,
	// Comparisons.
	"eq": 1, "ne": 1, "lt": 1, "le": 1, "gt": 1, "ge": 1, "isnan": 1, "isinf": 1,
	// Several.
	"rsqrt":       2, // sqrt, divide
	"square":      1,
	"clamp":       2, // max, min
	"hardtanh":    2,
	"relu6":       2,
	"leaky_relu":  2, // compare, multiply
	"sigmoid":     4, // 1 / (1 + exp(-x)): negate, exp, add, divide
	"silu":        5, // x·sigmoid(x)
	"logit":       3, // log(x / (1-x))
	"softplus":    3, // log(1 + exp(x)): exp, add, log
	"mish":        5, // x·tanh(softplus(x))
	"elu":         4, // compare, exp, subtract, multiply
	"selu":        5, // elu, scale
	"celu":        5, // elu of x/alpha
	"hardswish":   5, // x·min(max(x+3, 0), 6)/6
	"softsign":    3, // x / (1 + |x|)
	"tanhshrink":  2, // x - tanh(x)
	"lerp":        3, // a + w·(b-a)
	"addcmul":     3, // x + value·a·b
	"addcdiv":     3, // x + value·a/b
	"glu":         5, // a·sigmoid(b), per element of the result
	"angle":       1,
	"hardshrink":  1,
	"softshrink":  2,
	"xlogy":       2, // x·log(y)
	"log_sigmoid": 5, // -softplus(-x)
	"hardsigmoid": 4, // min(max(x+3, 0), 6)/6
}

// free are operators that compute nothing: they make, move, view or pick
// elements, or draw random ones.
var free = set("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "zeros", "zeros_like",
	"new_zeros", "ones", "ones_like", "new_ones", "full", "full_like", "new_full", "arange", "linspace", "eye",
	"scalar_tensor", "zero_", "fill_", "fill", "tril", "triu", "tril_indices", "triu_indices", "one_hot",
	"rand", "randn", "rand_like", "randn_like", "randint", "randint_like", "randperm", "bernoulli", "bernoulli_",
	"normal_", "uniform_", "normal", "multinomial", "random_", "exponential_",
	"clone", "copy_", "copy", "_to_copy", "cat", "stack", "pad", "constant_pad_nd", "reflection_pad1d",
	"reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d", "replication_pad3d", "roll",
	"flip", "repeat", "repeat_interleave", "tile", "gather", "scatter", "scatter_", "index", "index_select",
	"index_put_", "_index_put_impl_", "index_copy_", "index_fill_", "take", "take_along_dim", "masked_fill",
	"masked_fill_", "masked_select", "masked_scatter", "where", "embedding", "nonzero", "_reshape_copy",
	"channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "im2col", "_local_scalar_dense", "item", "equal",
	"upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d", "meshgrid",
	"logical_and", "logical_or", "logical_not", "logical_xor", "bitwise_not", "bitwise_and", "bitwise_or",
	"bitwise_xor", "__and__", "__or__", "isfinite", "select_backward", "slice_backward", "as_strided_scatter",
	"unfold_backward", "lift_fresh", "resize_", "resize_as_", "set_", "set_data", "record_stream", "_foreach_zero_",
	"_foreach_copy_", "_has_compatible_shallow_copy_type", "_nested_tensor_from_tensor_list", "is_nonzero")

// views are free operators that do not even move anything.
var views = set("view", "_unsafe_view", "_reshape_alias", "view_as", "permute", "transpose", "t", "expand",
	"as_strided", "slice", "select", "narrow", "unbind", "split", "split_with_sizes", "chunk", "squeeze", "unsqueeze",
	"detach", "alias", "diagonal", "unfold", "swapaxes", "numpy_T", "requires_grad_", "size", "numel", "stride", "dim",
	"is_floating_point", "is_complex", "sym_size", "sym_numel", "sym_stride", "retain_grad", "_conj", "resolve_conj",
	"resolve_neg", "real", "imag", "view_as_real", "view_as_complex", "output_nr", "_version", "is_leaf", "is_pinned",
	"result_type", "can_cast", "_fused_sdp_choice", "is_same_size", "_unpack_dual", "_make_dual", "_fw_primal",
	"data", "_debug_has_internal_overlap")

// pointwiseHandlers are the elementwise operators and their _foreach_ forms.
var pointwiseHandlers = pointwise()

func pointwise() map[string]Handler {
	handlers := map[string]Handler{
		"aten::add":                  addition,
		"aten::rsub":                 addition,
		"aten::gelu":                 gelu,
		"aten::dropout":              dropout,
		"aten::native_dropout":       nativeDropout,
		"aten::feature_dropout":      dropout,
		"aten::alpha_dropout":        dropout,
		"aten::prelu":                perOutput(2),
		"aten::_foreach_add":         foreach(1),
		"aten::_amp_update_scale_":   perOutput(0),
		"aten::_foreach_clamp_min":   foreach(1),
		"aten::_foreach_clamp_max":   foreach(1),
		"aten::upsample_linear1d":    perOutput(3),  // 2 products, 1 sum
		"aten::upsample_bilinear2d":  perOutput(7),  // 4 products, 3 sums
		"aten::upsample_trilinear3d": perOutput(15), // 8 products, 7 sums
		"aten::upsample_bicubic2d":   perOutput(35), // 5 sums of 4 products
	}
	for name, n := range perElement {
		handlers["aten::"+name] = perOutput(n)
		handlers["aten::_foreach_"+name] = foreach(n)
	}
	return handlers
}

// perOutput counts n per element of the first result, for floating-point inputs.
func perOutput(n int64) Handler {
	return func(op *Op) Cost {
		if !op.floating() {
			return Cost{}
		}
		return Cost{FLOPs: n * op.OutNumel(0)}
	}
}

// foreach counts n per element of a list of tensors.
func foreach(n int64) Handler {
	return func(op *Op) Cost {
		cost := Cost{Label: strings.TrimSuffix(strings.TrimPrefix(op.Name, "aten::"), "_")}
		for _, t := range op.Tensors(0) {
			cost.FLOPs += n * t.Numel()
		}
		return cost
	}
}

// addition is x + alpha·y (or alpha·y - x ... in rsub): 1 per element, 2 where alpha is not 1.
func addition(op *Op) Cost {
	if op.Float(2, 1) != 1 {
		return perOutput(2)(op)
	}
	return perOutput(1)(op)
}

// gelu: exact x·0.5·(1 + erf(x/sqrt 2)) is 5 (2 products with constants, erf,
// sum, product); by tanh 0.5·x·(1 + tanh(c·(x + d·x³))) is 9 (x³ 2, d 1, sum 1,
// c 1, tanh 1, sum 1, 2 products).
func gelu(op *Op) Cost {
	if op.Text(1) == "tanh" {
		return Cost{FLOPs: 9 * op.OutNumel(0)}
	}
	return Cost{FLOPs: 5 * op.OutNumel(0)}
}

// dropout(input, p, train): 2 per element while training (mask, scale), else nothing.
func dropout(op *Op) Cost {
	if op.Float(1, 0) == 0 || !op.Bool(2) {
		return Cost{}
	}
	return Cost{FLOPs: 2 * op.Numel(0), Label: "dropout"}
}

// nativeDropout(input, p, train?) is dropout below autograd.
func nativeDropout(op *Op) Cost { return Cost{FLOPs: 2 * op.Numel(0), Label: "dropout"} }

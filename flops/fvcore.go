package flops

// The conventions of fvcore 0.1.5 with NATTEN's handles. What is counted, and
// how, follows fvcore's and NATTEN's published behaviour; MACs only.

// fvcoreTable is fvcore's default set plus NATTEN's operators with perLogit
// extra counts for each attention logit.
func fvcoreTable(perLogit int64) map[string]Handler {
	return map[string]Handler{
		"aten::linear":              linear,
		"aten::addmm":               addmm,
		"aten::mm":                  fvcoreMatmul,
		"aten::bmm":                 matmul,
		"aten::matmul":              fvcoreMatmul,
		"aten::einsum":              fvcoreEinsum,
		"aten::conv1d":              convolution,
		"aten::conv2d":              convolution,
		"aten::conv3d":              convolution,
		"aten::conv_transpose1d":    transposedConvolution,
		"aten::conv_transpose2d":    transposedConvolution,
		"aten::conv_transpose3d":    transposedConvolution,
		"aten::convolution":         eitherConvolution,
		"aten::_convolution":        eitherConvolution,
		"aten::batch_norm":          fvcoreBatchNorm,
		"aten::group_norm":          fvcoreNorm(2),
		"aten::layer_norm":          fvcoreNorm(2),
		"aten::instance_norm":       fvcoreNorm(1),
		"aten::upsample_nearest2d":  fvcoreElements(0, 1),
		"aten::upsample_bilinear2d": fvcoreElements(0, 4),
		"aten::adaptive_avg_pool2d": fvcoreElements(1, 0),
		"aten::grid_sampler":        fvcoreElements(0, 4),
		"natten::na":                nattenFused(perLogit),
		"natten::na_lse":            nattenFused(perLogit),
		"natten::na_qk":             nattenQK(perLogit),
		"natten::na_av":             nattenAV,
	}
}

// fvcoreIgnored are the operators that fvcore knows to cost nothing, so that it
// does not list them as uncounted.
var fvcoreIgnored = set("Int", "ScalarImplicit", "__and__", "arange", "bitwise_not", "cat", "chunk", "clamp", "clamp_",
	"constant_pad_nd", "contiguous", "copy_", "detach", "dropout", "empty", "eq", "expand", "flatten", "floor",
	"floor_divide", "full", "full_like", "gather", "ge", "gt", "index", "index_put_", "masked_fill", "max", "narrow",
	"new_empty", "new_full", "new_zeros", "nonzero", "ones", "permute", "relu", "relu_", "remainder", "reshape", "roll",
	"select", "size", "slice", "split", "split_with_sizes", "squeeze", "stack", "t", "to", "transpose", "type_as",
	"unbind", "unsqueeze", "unsqueeze_", "view", "zeros", "zeros_like")

// fvcoreMatmul counts the elements of the left matrix times the columns of the
// right: without the batch that only the right one has.
func fvcoreMatmul(op *Op) Cost {
	right := op.Shape(1)
	if len(right) < 2 {
		return matmul(op)
	}
	return Cost{MACs: op.Numel(0) * last(right)}
}

// fvcoreNorm counts 5 per element, 4 where the weight (argument `weight`) is missing.
func fvcoreNorm(weight int) Handler {
	return func(op *Op) Cost {
		if op.Has(weight) {
			return Cost{MACs: 5 * op.Numel(0)}
		}
		return Cost{MACs: 4 * op.Numel(0)}
	}
}

// fvcoreBatchNorm counts 2 per element, 1 without weight, and while training as
// any norm.
func fvcoreBatchNorm(op *Op) Cost {
	switch {
	case op.Bool(5):
		return fvcoreNorm(1)(op)
	case op.Has(1):
		return Cost{MACs: 2 * op.Numel(0)}
	}
	return Cost{MACs: op.Numel(0)}
}

// fvcoreElements counts so many per element of the input and of the output.
func fvcoreElements(input, output int64) Handler {
	return func(op *Op) Cost { return Cost{MACs: input*op.Numel(0) + output*op.OutNumel(0)} }
}

// nattenSlots is B·heads·tokens·(window slots): every slot counts, also those
// that a causal mask leaves empty.
func nattenSlots(op *Op, shape []int64, geometry int) int64 {
	kernel := op.Ints(geometry)
	return product(shape[:len(kernel)+2]) * product(kernel)
}

func nattenFused(perLogit int64) Handler {
	return func(op *Op) Cost {
		q, name := op.Shape(0), neighborhoodName(op, 4)
		slots := nattenSlots(op, q, 4)
		if extra := op.Shape(9); extra != nil {
			slots += product(q[:len(q)-1]) * extra[1]
		}
		return Cost{Parts: []Cost{
			{Label: name + "_qk", MACs: slots * (last(q) + perLogit)},
			{Label: name + "_softmax"},
			{Label: name + "_av", MACs: slots * last(op.Shape(2))},
		}}
	}
}

// nattenDense counts fused attention over the whole map that stands for dense
// attention: two matrix products, as fvcore sees them.
func nattenDense(op *Op) Cost {
	q := op.Shape(0)
	slots := nattenSlots(op, q, 4)
	return Cost{Parts: []Cost{
		{Label: "matmul", MACs: slots * last(q)},
		{Label: "softmax"},
		{Label: "matmul", MACs: slots * last(op.Shape(2))},
	}}
}

func nattenQK(perLogit int64) Handler {
	return func(op *Op) Cost {
		q := op.Shape(0)
		return Cost{Label: neighborhoodName(op, 3) + "_qk", MACs: nattenSlots(op, q, 3) * (last(q) + perLogit)}
	}
}

func nattenAV(op *Op) Cost {
	return Cost{Label: neighborhoodName(op, 2) + "_av", MACs: nattenSlots(op, op.Shape(0), 2) * last(op.Shape(1))}
}

func set(names ...string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s["aten::"+name] = true
	}
	return s
}

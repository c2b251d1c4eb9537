package flops

// poolHandlers are the pooling operators. Windows are counted as they are cut
// at the borders.
var poolHandlers = map[string]Handler{
	"aten::max_pool1d":              maxPool(1),
	"aten::max_pool2d":              maxPool(2),
	"aten::max_pool3d":              maxPool(3),
	"aten::max_pool1d_with_indices": maxPool(1),
	"aten::max_pool2d_with_indices": maxPool(2),
	"aten::max_pool3d_with_indices": maxPool(3),
	"aten::avg_pool1d":              avgPool(1),
	"aten::avg_pool2d":              avgPool(2),
	"aten::avg_pool3d":              avgPool(3),
	"aten::adaptive_avg_pool1d":     adaptivePool(1),
	"aten::adaptive_avg_pool2d":     adaptivePool(2),
	"aten::_adaptive_avg_pool2d":    adaptivePool(2),
	"aten::adaptive_avg_pool3d":     adaptivePool(3),
	"aten::_adaptive_avg_pool3d":    adaptivePool(3),
	"aten::adaptive_max_pool1d":     adaptiveMax(1),
	"aten::adaptive_max_pool2d":     adaptiveMax(2),
}

// maxPool(input, kernel, stride, padding, dilation): one comparison less than
// the window has elements, for every element of the result.
func maxPool(rank int) Handler {
	return func(op *Op) Cost {
		taps := pooled(op, rank, op.Ints(4))
		return Cost{FLOPs: taps - op.OutNumel(0)}
	}
}

// avgPool(input, kernel, stride, padding): the window's sum, one addition less
// than it has elements, and a division.
func avgPool(rank int) Handler {
	return func(op *Op) Cost { return Cost{FLOPs: pooled(op, rank, nil)} }
}

// pooled is the number of input elements that all windows have together.
func pooled(op *Op, rank int, dilation []int64) int64 {
	input, output := op.Shape(0), op.Out(0)
	kernel, stride, padding := op.Ints(1), op.Ints(2), op.Ints(3)
	if len(stride) == 0 {
		stride = kernel
	}
	lead := len(input) - rank
	taps := product(input[:lead])
	for a := range rank {
		var sum int64
		for o := range output[lead+a] {
			for k := range each(kernel, a, 1) {
				p := o*each(stride, a, 1) - each(padding, a, 0) + k*each(dilation, a, 1)
				if p >= 0 && p < input[lead+a] {
					sum++
				}
			}
		}
		taps *= sum
	}
	return taps
}

// adaptivePool(input, output_size): as avgPool; window o of n starts at
// floor(o·in/n) and ends before ceil((o+1)·in/n).
func adaptivePool(rank int) Handler {
	return func(op *Op) Cost { return Cost{FLOPs: adaptive(op, rank)} }
}

// adaptiveMax: as maxPool with the windows of adaptivePool.
func adaptiveMax(rank int) Handler {
	return func(op *Op) Cost { return Cost{FLOPs: adaptive(op, rank) - op.OutNumel(0)} }
}

func adaptive(op *Op, rank int) int64 {
	input, output := op.Shape(0), op.Out(0)
	lead := len(input) - rank
	taps := product(input[:lead])
	for a := range rank {
		in, out := input[lead+a], output[lead+a]
		var sum int64
		for o := range out {
			sum += ((o+1)*in+out-1)/out - o*in/out
		}
		taps *= sum
	}
	return taps
}

// each is entry a of a list in which a single entry stands for all axes.
func each(list []int64, a int, otherwise int64) int64 {
	switch {
	case len(list) == 0:
		return otherwise
	case len(list) == 1:
		return list[0]
	}
	return list[a]
}

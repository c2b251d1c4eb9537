package flops

// convolutionHandlers are the convolutions of every rank. Taps that fall on the
// zero padding count: every implementation and every counter has them.
var convolutionHandlers = map[string]Handler{
	"aten::conv1d":             convolution,
	"aten::conv2d":             convolution,
	"aten::conv3d":             convolution,
	"aten::conv_transpose1d":   transposedConvolution,
	"aten::conv_transpose2d":   transposedConvolution,
	"aten::conv_transpose3d":   transposedConvolution,
	"aten::convolution":        eitherConvolution,
	"aten::_convolution":       eitherConvolution,
	"aten::mkldnn_convolution": convolution,
	"aten::cudnn_convolution":  convolution,
}

// convolution, input [B, in, *spatial], weight [out, in/groups, *kernel]:
//
//	MACs  = B · positions of the output · elements of the weight
//	FLOPs = 2·MACs (+ elements of the output with a bias)
func convolution(op *Op) Cost { return convolutionCost(op, false) }

// transposedConvolution, weight [in, out/groups, *kernel]: the same with the
// positions of the input. One accumulation at each of the output's elements
// goes into an empty cell; it is counted all the same.
func transposedConvolution(op *Op) Cost { return convolutionCost(op, true) }

// eitherConvolution is the general operator, whose argument 6 says which.
func eitherConvolution(op *Op) Cost { return convolutionCost(op, op.Bool(6)) }

func convolutionCost(op *Op, transposed bool) Cost {
	cost := macs(convolutionMACs(op.Shape(0), op.Shape(1), op.Out(0), transposed), 0)
	if op.Has(2) {
		cost.FLOPs += op.OutNumel(0)
	}
	cost.Label = "conv"
	return cost
}

// convolutionMACs takes inputs with and without a batch dimension.
func convolutionMACs(input, weight, output []int64, transposed bool) int64 {
	positions := output
	if transposed {
		positions = input
	}
	axes := len(weight) - 2
	batch := int64(1)
	if len(input) == len(weight) {
		batch = input[0]
	}
	return batch * product(positions[len(positions)-axes:]) * product(weight)
}

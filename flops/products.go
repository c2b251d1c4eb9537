package flops

// productHandlers are the matrix products. Those that libtorch makes of these
// (einsum, tensordot, recurrent layers) are counted by their parts.
var productHandlers = map[string]Handler{
	"aten::linear":            linear,
	"aten::mkldnn_linear":     linear,
	"aten::matmul":            matmul,
	"aten::mm":                matmul,
	"aten::bmm":               matmul,
	"aten::mv":                matmul,
	"aten::dot":               matmul,
	"aten::vdot":              matmul,
	"aten::addmm":             addmm,
	"aten::baddbmm":           addmm,
	"aten::addmv":             addmm,
	"aten::addbmm":            addbmm,
	"aten::_addmm_activation": addmm,
	"aten::outer":             perOutput(1),
	"aten::ger":               perOutput(1),
}

// macs is a cost of multiply-accumulates, two FLOPs each, and further FLOPs.
func macs(n, further int64) Cost { return Cost{MACs: n, FLOPs: 2*n + further} }

// linear is x W^T + b, x [..., in], W [out, in]:
//
//	MACs  = rows·in·out
//	FLOPs = 2·MACs (+ rows·out with a bias)
func linear(op *Op) Cost {
	var bias int64
	if op.Has(2) {
		bias = op.OutNumel(0)
	}
	return macs(op.OutNumel(0)*last(op.Shape(0)), bias)
}

// matmul is a (batched) product [.., n, k]·[.., k, m], broadcast over the
// batch; vectors are matrices of one row or column:
//
//	MACs  = batch·n·k·m = elements of the result · k
//	FLOPs = 2·MACs
func matmul(op *Op) Cost { return macs(op.OutNumel(0)*last(op.Shape(0)), 0) }

// addmm is beta·C + alpha·A·B, also batched, or with a vector B:
//
//	MACs  = elements of the result · k
//	FLOPs = 2·MACs + elements of the result (once more for each of alpha, beta that is not 1;
//	        nothing is added where beta is 0)
func addmm(op *Op) Cost {
	return macs(op.OutNumel(0)*last(op.Shape(1)), addends(op, op.OutNumel(0)))
}

// addbmm is beta·C + alpha·sum over the batch of A·B: addmm whose k is batch·k.
func addbmm(op *Op) Cost {
	a := op.Shape(1)
	return macs(op.OutNumel(0)*a[0]*last(a), addends(op, op.OutNumel(0)))
}

func addends(op *Op, n int64) int64 {
	beta, alpha := op.Float(3, 1), op.Float(4, 1)
	var further int64
	if alpha != 1 {
		further += n
	}
	switch beta {
	case 0:
		return further
	case 1:
		return further + n
	}
	return further + 2*n
}

func last(shape []int64) int64 {
	if len(shape) == 0 {
		return 1
	}
	return shape[len(shape)-1]
}

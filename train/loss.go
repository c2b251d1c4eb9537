package train

import (
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

var (
	opLogSoftmax = torch.NewOp("aten::log_softmax.int")
	opBCE        = torch.NewOp("aten::binary_cross_entropy_with_logits")
	opGreater    = torch.NewOp("aten::gt.Scalar")
	opMean       = torch.NewOp("aten::mean")
	opNeg        = torch.NewOp("aten::neg")
)

// Loss maps logits [B, classes] and targets to a scalar, the mean over the
// batch. Targets are int64 labels [B], or where batches are mixed or smoothed
// beforehand, float probabilities [B, classes].
type Loss func(s *torch.Scope, logits, targets *ts.Tensor) *ts.Tensor

// CrossEntropy is the cross-entropy with labels, the target smoothed to
// 1 - smoothing + smoothing/classes for the label and smoothing/classes for
// every other class (arXiv 1512.00567, section 7).
func CrossEntropy(smoothing float64) Loss {
	return func(s *torch.Scope, logits, labels *ts.Tensor) *ts.Tensor {
		return s.CrossEntropy(s.To(logits, gotch.Float), labels, smoothing)
	}
}

// SoftTarget is the cross-entropy with probabilities.
func SoftTarget(s *torch.Scope, logits, targets *ts.Tensor) *ts.Tensor {
	logs := s.Op(opLogSoftmax, s.To(logits, gotch.Float), -1, nil)
	return s.Op(opNeg, s.Op(opMean, s.SumDim(s.Mul(targets, logs), false, -1), nil))
}

// BinaryCrossEntropy treats each class as a question of its own, averaged over
// classes and batch (arXiv 2110.00476). Targets are probabilities; above 0, a
// threshold makes those above it 1 and others 0.
func BinaryCrossEntropy(threshold float64) Loss {
	return func(s *torch.Scope, logits, targets *ts.Tensor) *ts.Tensor {
		if threshold > 0 {
			targets = s.To(s.Op(opGreater, targets, threshold), gotch.Float)
		}
		const mean = 1
		return s.Op(opBCE, s.To(logits, gotch.Float), targets, nil, nil, mean)
	}
}

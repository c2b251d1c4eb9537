package train

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/torch"
)

var (
	opTopK         = torch.NewOp("aten::topk")
	opCrossEntropy = torch.NewOp("aten::cross_entropy_loss")
)

// Evaluation is what Evaluate measures.
type Evaluation struct {
	Images     int
	Unreadable int     // pictures that were left out
	Loss       float64 // mean cross-entropy, nothing smoothed
	Top1       float64 // percent of images whose label has the highest logit
	Top5       float64 // percent whose label is among the five highest (all, where there are fewer)
	Seconds    float64
}

// ImagesPerSecond is the speed of the evaluation.
func (e *Evaluation) ImagesPerSecond() float64 { return float64(e.Images) / math.Max(e.Seconds, 1e-9) }

// Evaluator computes accuracy over a source of batches.
type Evaluator struct {
	Model     Model
	Source    Source
	Device    torch.Device
	Precision gotch.DType // as in Loop

	// Sum adds numbers up over the processes that share the work, in place; nil:
	// there is one.
	Sum func(values []float64) error

	// OnBatch is told after each batch: the batch, each image's classes in falling
	// order of logits (five, or all where there are fewer), and each image's loss.
	// nil: nobody.
	OnBatch func(b *data.Batch, ranked [][]int64, losses []float64)
}

// Run evaluates one whole pass. It holds its OS thread.
func (e *Evaluator) Run(ctx context.Context) (*Evaluation, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	result := &Evaluation{}
	var loss, top1, top5 float64
	for b, err := range e.Source.Epoch(ctx, 0, 0) {
		if err != nil {
			return nil, err
		}
		ranked, losses, err := e.batch(b)
		if err != nil {
			b.Release()
			return nil, fmt.Errorf("train: evaluation, batch %d: %w", b.Number, err)
		}
		for i, label := range b.Labels {
			if b.Replaced(i) { // another picture, which counts in its own place
				result.Unreadable++
				continue
			}
			result.Images++
			loss += losses[i]
			for place, class := range ranked[i] {
				if class == label {
					top5++
					if place == 0 {
						top1++
					}
				}
			}
		}
		if e.OnBatch != nil {
			e.OnBatch(b, ranked, losses)
		}
		b.Release()
	}
	if e.Sum != nil {
		values := []float64{float64(result.Images), loss, top1, top5, float64(result.Unreadable)}
		if err := e.Sum(values); err != nil {
			return nil, err
		}
		result.Images, loss, top1, top5 = int(values[0]), values[1], values[2], values[3]
		result.Unreadable = int(values[4])
	}
	if result.Images == 0 {
		return nil, fmt.Errorf("train: evaluation: no images")
	}
	n := float64(result.Images)
	result.Loss, result.Top1, result.Top5 = loss/n, 100*top1/n, 100*top5/n
	result.Seconds = time.Since(start).Seconds()
	return result, nil
}

func (e *Evaluator) batch(b *data.Batch) (ranked [][]int64, losses []float64, err error) {
	err = torch.NoGrad(func() error {
		s := torch.NewScope()
		defer s.Close()
		n := int64(len(b.Labels))
		images := torch.Upload(s, b.Images, e.Device, n, int64(b.Channels), int64(b.Height), int64(b.Width))
		labels := torch.Upload(s, b.Labels, e.Device, n)
		if s.Err() != nil {
			return s.Err()
		}
		logits, err := apply(s, e.Model, images, e.Device, e.Precision)
		if err != nil {
			return err
		}
		const none, ignoreIndex = 0, -100
		loss := s.Op(opCrossEntropy, logits, labels, nil, none, ignoreIndex, 0.0)
		if losses, err = read[float64](s, loss); err != nil {
			return err
		}
		ranked, _, err = rank(s, logits, 5)
		return err
	})
	return ranked, losses, err
}

// apply computes float32 logits.
func apply(s *torch.Scope, m Model, images *ts.Tensor, device torch.Device, precision gotch.DType) (*ts.Tensor, error) {
	var logits *ts.Tensor
	forward := func() error {
		logits = s.Own(m.Apply(images, false))
		return s.Err()
	}
	var err error
	if precision == gotch.BFloat16 || precision == gotch.Half {
		err = torch.Autocast(device, precision, forward)
	} else {
		err = forward()
	}
	if err != nil {
		return nil, err
	}
	logits = s.To(logits, gotch.Float)
	return logits, s.Err()
}

// rank lists the k classes of highest value per row, and the values.
func rank(s *torch.Scope, scores *ts.Tensor, k int64) ([][]int64, [][]float64, error) {
	if s.Err() != nil {
		return nil, nil, s.Err()
	}
	info, err := torch.InfoOf(scores)
	if err != nil {
		return nil, nil, err
	}
	k = min(k, info.Shape[1])
	results := s.Call(opTopK, scores, k)
	if s.Err() != nil {
		return nil, nil, s.Err()
	}
	values, err := torch.Slice[float64](results[0].(*ts.Tensor))
	if err != nil {
		return nil, nil, err
	}
	indices, err := torch.Slice[int64](results[1].(*ts.Tensor))
	if err != nil {
		return nil, nil, err
	}
	return rows(indices, int(k)), rows(values, int(k)), nil
}

func rows[T any](list []T, k int) [][]T {
	out := make([][]T, 0, len(list)/k)
	for ; len(list) > 0; list = list[k:] {
		out = append(out, list[:k])
	}
	return out
}

func read[E torch.Element](s *torch.Scope, t *ts.Tensor) ([]E, error) {
	if s.Err() != nil {
		return nil, s.Err()
	}
	return torch.Slice[E](t)
}

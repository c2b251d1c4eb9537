package train

import (
	"context"
	"fmt"
	"math"

	"github.com/gonatten/gonatten/data"
)

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// inspect keeps the batch whose loss is no number where that ends the run.
func (l *Loop) inspect(b *data.Batch, loss float64) error {
	if finite(loss) || l.OnNonFinite == nil || l.State.SkippedInRow < l.MaxSkipped {
		return nil
	}
	return l.OnNonFinite(b, &l.State)
}

// settle ends a step of which all gradients are there: it updates the weights, or
// skips the step where its loss or its gradients are no finite numbers. With peers the loss is the
// mean over them, images their sum, and one that was interrupted or has a bad
// loss makes all stop or skip together.
func (l *Loop) settle(ctx context.Context, loss float64, images int64) error {
	if l.Peers != nil {
		stop := 0.0
		if ctx.Err() != nil {
			stop = 1
		}
		values := []float64{loss, float64(images), stop, 1}
		if err := l.Peers.Sum(values); err != nil {
			return err
		}
		loss, images = values[0]/values[3], int64(values[1])
		l.State.Interrupted = l.State.Interrupted || values[2] > 0
	}
	l.State.Loss = loss
	l.State.Images += images
	if !finite(loss) {
		return l.skip("loss", loss)
	}
	norm := 0.0
	err := l.Cost.ofUpdate(func() (err error) {
		norm, err = l.update()
		return err
	})
	if err == nil && !finite(norm) {
		return l.skip("norm of the gradients", norm)
	}
	l.State.SkippedInRow = 0
	return err
}

// skip leaves the step out, because of a number that is not finite.
func (l *Loop) skip(what string, value float64) error {
	l.State.Skipped++
	l.State.SkippedInRow++
	if l.State.SkippedInRow > l.MaxSkipped {
		return fmt.Errorf("the %s is %g, for the %s time in a row, and at most %d such steps are skipped",
			what, value, ordinal(l.State.SkippedInRow), l.MaxSkipped)
	}
	l.State.LR = l.Schedule(l.State.Step)
	l.State.Step++
	return l.Optimizer.ZeroGrad()
}

func ordinal(n int) string {
	suffix := "th"
	switch {
	case n%100 >= 11 && n%100 <= 13:
	case n%10 == 1:
		suffix = "st"
	case n%10 == 2:
		suffix = "nd"
	case n%10 == 3:
		suffix = "rd"
	}
	return fmt.Sprint(n, suffix)
}

package flops

import "time"

// Training is the account of one training step as it ran.
type Training struct {
	// Forward is everything outside of backward passes up to the last of them,
	// Backward what ran inside them, Update what followed: gradient clipping,
	// the optimizer, moving averages.
	Forward, Backward, Update Totals
	// Report has all of it by operator and by module; what ran in a backward pass
	// belongs to the module whose forward it derives.
	*Report
}

// TrainingStep runs a training step for real and counts what libtorch ran:
// forward, backward, recomputation and optimizer, in the formulas of [Exact].
// The step runs on the calling goroutine, which keeps its OS thread; it may
// call backward any number of times. Counting slows the step down by a few
// microseconds per operator, so a trainer counts one step and reuses the
// numbers. Modules are named with [WithVariables].
//
// The totals are what the operators did, not a multiple of the forward pass:
// fused attention's backward computes the logits anew, the first layer has no
// gradient towards the image.
func TrainingStep(step func() error, opts ...Option) (*Training, error) {
	o := collect(opts)
	if o.name == "" {
		o.name = "training step"
	}
	o.convention = Exact
	a, parameters, err := record(o, findVariables(nil, o.store), false, step)
	if err != nil {
		return nil, failed("TrainingStep", o.name, err)
	}
	t := &Training{Report: a.report(o.name, parameters)}
	lastBackward := -1
	for r, row := range a.rows {
		if row.backward {
			lastBackward = r
		}
	}
	for r, row := range a.rows {
		phase := &t.Forward
		switch {
		case row.backward:
			phase = &t.Backward
		case r > lastBackward && lastBackward >= 0:
			phase = &t.Update
		}
		phase.add(row.totals())
	}
	return t, nil
}

// Rate is FLOPs per second of a step that took that long.
func (t *Training) Rate(elapsed time.Duration) float64 {
	return float64(t.FLOPs) / elapsed.Seconds()
}

// Utilisation is the share of a device's peak (FLOP/s, see [PeakFLOPs]) that the
// step's matrix products, convolutions and attention made use of: model FLOPs
// utilisation, MFU. Elementwise work does not count as use.
func (t *Training) Utilisation(elapsed time.Duration, peak float64) float64 {
	return 2 * float64(t.MACs) / elapsed.Seconds() / peak
}

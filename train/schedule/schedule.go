// Package schedule computes learning rates: pure functions from the number of
// updates done to the rate of the next one, with the meaning that timm gives to
// the same names.
package schedule

import (
	"fmt"
	"math"
	"sort"
)

// Schedule is the learning rate of update t, the first being 0. Time is in
// updates, or in epochs where its Settings were.
type Schedule func(t int) float64

// Settings of New. All times are in one unit, updates or epochs.
type Settings struct {
	// Name is "cosine", "linear", "poly", "step", "multistep", "onecycle" or
	// "constant".
	Name string
	// LR is the rate at the peak, MinLR the one at the end (cosine, linear, poly,
	// onecycle), WarmupLR the one that warm-up starts from.
	LR, MinLR, WarmupLR float64
	// Steps is the length of the schedule, warm-up included unless WarmupPrefix.
	// From then on, while a run cools down, the rate is MinLR.
	Steps int
	// Warmup is the length of the linear rise from WarmupLR to LR. The schedule
	// runs underneath and takes over where it stands then, or, with
	// WarmupPrefix, starts after it.
	Warmup       int
	WarmupPrefix bool
	// Cycles is how often cosine, linear and poly start again, each time
	// CycleMul as long and CycleDecay as high; 0 means 1 for each.
	Cycles               int
	CycleMul, CycleDecay float64
	// KDecay bends time for cosine, linear and poly (arXiv 2004.05909); 0 means 1.
	KDecay float64
	// Power of poly; 0 means 0.5.
	Power float64
	// DecaySteps is the length of one step of "step", DecayRate the factor per
	// step (0 means 0.1), Milestones the times of "multistep".
	DecaySteps float64
	DecayRate  float64
	Milestones []int
}

var shapes = map[string]func(Settings) Schedule{
	"constant":  constant,
	"cosine":    cosine,
	"linear":    linear,
	"multistep": multistep,
	"onecycle":  oneCycle,
	"poly":      poly,
	"step":      step,
}

// Names are the schedules that New knows.
func Names() []string {
	names := make([]string, 0, len(shapes))
	for name := range shapes {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// New makes a schedule. It fails on an unknown name, a length below 1, negative
// rates, and a "step" without DecaySteps.
func New(s Settings) (Schedule, error) {
	shape, ok := shapes[s.Name]
	switch {
	case !ok:
		return nil, fmt.Errorf("schedule: New: no schedule %q, have %v", s.Name, Names())
	case s.Steps < 1:
		return nil, fmt.Errorf("schedule: New: steps is %d, want at least 1", s.Steps)
	case s.Warmup < 0:
		return nil, fmt.Errorf("schedule: New: warm-up is %d, want at least 0", s.Warmup)
	case s.LR < 0 || s.MinLR < 0 || s.WarmupLR < 0:
		return nil, fmt.Errorf("schedule: New: rates %g, %g (minimum) and %g (warm-up), want none below 0",
			s.LR, s.MinLR, s.WarmupLR)
	case s.Name == "step" && s.DecaySteps <= 0:
		return nil, fmt.Errorf("schedule: New: step needs decay steps above 0, have %g", s.DecaySteps)
	}
	s.Cycles = max(s.Cycles, 1)
	s.CycleMul, s.CycleDecay = orOne(s.CycleMul), orOne(s.CycleDecay)
	s.KDecay = orOne(s.KDecay)
	if s.DecayRate == 0 {
		s.DecayRate = 0.1
	}
	if s.Power == 0 {
		s.Power = 0.5
	}
	if s.Name == "onecycle" { // its rise is part of its shape
		return shape(s), nil
	}
	return warmedUp(s, shape(s)), nil
}

// Length is the time until the schedule has run its course: its cycles, and the
// warm-up where that is a prefix.
func (s Settings) Length() int {
	cycles, mul := max(s.Cycles, 1), orOne(s.CycleMul)
	length := s.Steps * cycles
	if mul != 1 {
		length = int(math.Floor(float64(s.Steps) * (math.Pow(mul, float64(cycles)) - 1) / (mul - 1)))
	}
	if s.WarmupPrefix && s.Name != "onecycle" {
		length += s.Warmup
	}
	return length
}

func orOne(v float64) float64 {
	if v == 0 {
		return 1
	}
	return v
}

// warmedUp puts the linear rise before a schedule.
func warmedUp(s Settings, then Schedule) Schedule {
	return func(t int) float64 {
		if t < s.Warmup {
			return s.WarmupLR + float64(t)*(s.LR-s.WarmupLR)/float64(s.Warmup)
		}
		if s.WarmupPrefix {
			t -= s.Warmup
		}
		return then(t)
	}
}

package schedule

import "math"

func constant(s Settings) Schedule {
	return func(int) float64 { return s.LR }
}

// cosine is MinLR + (LR - MinLR)/2 (1 + cos(pi t/T)) (arXiv 1608.03983, equation 5).
func cosine(s Settings) Schedule {
	return cyclic(s, func(x float64) float64 { return 0.5 * (1 + math.Cos(math.Pi*x)) })
}

// linear falls from LR to MinLR. The published training code names a schedule
// "linear" without implementing one, and so trains at a constant rate; to
// repeat that, choose "constant".
func linear(s Settings) Schedule {
	return cyclic(s, func(x float64) float64 { return 1 - x })
}

func poly(s Settings) Schedule {
	return cyclic(s, func(x float64) float64 { return math.Pow(1-x, s.Power) })
}

// cyclic runs a shape, which falls from 1 at 0 to 0 at 1, once per cycle, and
// stays at MinLR after the last one.
func cyclic(s Settings, shape func(x float64) float64) Schedule {
	return func(t int) float64 {
		start, length, peak := 0.0, float64(s.Steps), s.LR
		for cycle := 0; cycle < s.Cycles; cycle++ {
			if at := float64(t) - start; at < length {
				x := math.Pow(at, s.KDecay) / math.Pow(length, s.KDecay)
				return s.MinLR + (peak-s.MinLR)*shape(x)
			}
			start += length
			length *= s.CycleMul
			peak *= s.CycleDecay
		}
		return s.MinLR
	}
}

// step multiplies the rate by DecayRate every DecaySteps.
func step(s Settings) Schedule {
	return func(t int) float64 {
		return s.LR * math.Pow(s.DecayRate, math.Floor(float64(t)/s.DecaySteps))
	}
}

// multistep multiplies the rate by DecayRate at each milestone m, from t = m - 1
// on, which is when timm does so.
func multistep(s Settings) Schedule {
	return func(t int) float64 {
		passed := 0.0
		for _, m := range s.Milestones {
			if m <= t+1 {
				passed++
			}
		}
		return s.LR * math.Pow(s.DecayRate, passed)
	}
}

// oneCycle rises from WarmupLR (LR/25 where that is 0) to LR and falls to MinLR
// (1e-4 of the start where that is 0), each along half a cosine (arXiv
// 1708.07120; the two-phase form of torch.optim.lr_scheduler.OneCycleLR). The
// rise takes Warmup, or 30% of the time where that is 0.
func oneCycle(s Settings) Schedule {
	start, end := s.WarmupLR, s.MinLR
	if start == 0 {
		start = s.LR / 25
	}
	if end == 0 {
		end = start * 1e-4
	}
	rise, last := float64(s.Warmup), float64(s.Steps-1)
	if rise == 0 {
		rise = 0.3*float64(s.Steps) - 1
	}
	anneal := func(from, to, x float64) float64 { return to + (from-to)/2*(1+math.Cos(math.Pi*x)) }
	return func(t int) float64 {
		switch x := float64(t); {
		case x <= rise && rise > 0:
			return anneal(start, s.LR, x/rise)
		case x < last:
			return anneal(s.LR, end, (x-rise)/(last-rise))
		}
		return end
	}
}

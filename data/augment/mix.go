package augment

import (
	"fmt"
	"image"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"
)

// Mix blends the samples of a batch in pairs: Mixup (Zhang et al. 2017, arXiv
// 1710.09412) adds two images, CutMix (Yun et al. 2019, arXiv 1905.04899) pastes a
// rectangle of one into the other, and the targets follow. It works as timm's
// Mixup in batch mode does: one draw per batch, sample i paired with sample n-1-i.
type Mix struct {
	MixupAlpha     float64 // of the Beta distribution; 0 switches Mixup off
	CutmixAlpha    float64 // 0 switches CutMix off
	Prob           float64 // probability that a batch is mixed at all
	SwitchProb     float64 // probability of CutMix where both are on
	LabelSmoothing float64 // the share of the target that all classes divide
	Classes        int
}

// RecipeMix is the official recipe's: Mixup 0.8, CutMix 1.0, each for half of the
// batches, label smoothing 0.1.
func RecipeMix(classes int) Mix {
	return Mix{MixupAlpha: 0.8, CutmixAlpha: 1, Prob: 1, SwitchProb: 0.5, LabelSmoothing: 0.1, Classes: classes}
}

// Check tells whether the fields make sense.
func (m Mix) Check() error {
	switch {
	case m.MixupAlpha < 0 || m.CutmixAlpha < 0:
		return fmt.Errorf("augment: Mix: negative alpha (mixup %v, cutmix %v)", m.MixupAlpha, m.CutmixAlpha)
	case !(m.Prob >= 0 && m.Prob <= 1) || !(m.SwitchProb >= 0 && m.SwitchProb <= 1):
		return fmt.Errorf("augment: Mix: prob %v or switch_prob %v is not a probability", m.Prob, m.SwitchProb)
	case !(m.LabelSmoothing >= 0 && m.LabelSmoothing < 1):
		return fmt.Errorf("augment: Mix: smoothing %v is not in [0, 1)", m.LabelSmoothing)
	case m.Classes < 1:
		return fmt.Errorf("augment: Mix: %d classes", m.Classes)
	}
	return nil
}

// MixParams is what a batch's mixing was drawn to be.
type MixParams struct {
	// Lambda is the weight of a sample itself, 1-Lambda that of its partner. With
	// CutMix it is the exact share of the pixels that stay. 1 means no mixing.
	Lambda float64
	CutMix bool
	// Box is the rectangle that CutMix takes from the partner; it may be empty.
	Box image.Rectangle
}

// Params draws the mixing of a batch of height x width images.
func (m Mix) Params(rng *rand.Rand, height, width int) MixParams {
	p := MixParams{Lambda: 1}
	if m.MixupAlpha == 0 && m.CutmixAlpha == 0 || rng.Float64() >= m.Prob {
		return p
	}
	alpha := m.MixupAlpha
	switch {
	case m.MixupAlpha > 0 && m.CutmixAlpha > 0:
		p.CutMix = rng.Float64() < m.SwitchProb
	case m.CutmixAlpha > 0:
		p.CutMix = true
	}
	if p.CutMix {
		alpha = m.CutmixAlpha
	}
	p.Lambda = distuv.Beta{Alpha: alpha, Beta: alpha, Src: rng}.Rand()
	if p.CutMix {
		side := math.Sqrt(1 - p.Lambda)
		h, w := int(float64(height)*side), int(float64(width)*side)
		cy, cx := rng.IntN(height), rng.IntN(width)
		p.Box = image.Rect(cx-w/2, cy-h/2, cx+(w+1)/2, cy+(h+1)/2).Intersect(image.Rect(0, 0, width, height))
		p.Lambda = 1 - float64(p.Box.Dx()*p.Box.Dy())/float64(width*height)
	}
	return p
}

// Apply mixes a batch [n, channels, height, width] in place.
func (p MixParams) Apply(images []float32, n, channels, height, width int) {
	if p.Lambda == 1 {
		return
	}
	size := channels * height * width
	for i := range n / 2 {
		a, b := images[i*size:(i+1)*size], images[(n-1-i)*size:(n-i)*size]
		if !p.CutMix {
			own, other := float32(p.Lambda), float32(1-p.Lambda)
			for k, v := range a {
				w := b[k]
				a[k], b[k] = v*own+w*other, w*own+v*other
			}
			continue
		}
		for c := range channels {
			for y := p.Box.Min.Y; y < p.Box.Max.Y; y++ {
				at := (c*height+y)*width + p.Box.Min.X
				for k := at; k < at+p.Box.Dx(); k++ {
					a[k], b[k] = b[k], a[k]
				}
			}
		}
	}
}

// Targets writes the soft targets of a batch, [len(labels), Classes]: each one-hot
// label smoothed, then weighted with its partner's. It fails on a label that is no
// class and on a slice of the wrong length.
func (m Mix) Targets(dst []float32, labels []int64, p MixParams) error {
	if len(dst) != len(labels)*m.Classes {
		return fmt.Errorf("augment: Mix: %d targets for %d labels of %d classes", len(dst), len(labels), m.Classes)
	}
	off := m.LabelSmoothing / float64(m.Classes)
	on := 1 - m.LabelSmoothing
	for i, label := range labels {
		partner := labels[len(labels)-1-i]
		if label < 0 || label >= int64(m.Classes) {
			return fmt.Errorf("augment: Mix: label %d of sample %d is not in [0, %d)", label, i, m.Classes)
		}
		if partner < 0 || partner >= int64(m.Classes) {
			return fmt.Errorf("augment: Mix: label %d of sample %d is not in [0, %d)", partner, len(labels)-1-i, m.Classes)
		}
		row := dst[i*m.Classes : (i+1)*m.Classes]
		for k := range row {
			v := off
			if int64(k) == label {
				v += on * p.Lambda
			}
			if int64(k) == partner {
				v += on * (1 - p.Lambda)
			}
			row[k] = float32(v)
		}
	}
	return nil
}

package augment

import (
	"image"
	"math/rand/v2"
	"sync"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/data/imageops"
	"github.com/gonatten/gonatten/data/raster"
	"github.com/gonatten/gonatten/data/resample"
)

// Pipeline is a data.Transform made of a Config.
type Pipeline struct {
	cfg     Config
	train   bool
	filter  resample.Filter
	random  bool // draw the filter anew for each image
	policy  *RandAugment
	jitter  ColorJitter
	table   [3][256]float32
	scratch sync.Pool
}

// scratch is what one goroutine needs to transform one sample.
type scratch struct {
	decoded, a, b raster.Image
	resizer       resample.Resizer
}

// TrainTransform builds the training pipeline of a configuration: crop, flips,
// RandAugment or colour jitter, normalisation, random erasing, in timm's order.
func TrainTransform(cfg Config) (*Pipeline, error) {
	p, err := newPipeline(cfg)
	if err != nil {
		return nil, err
	}
	p.train = true
	if p.random = p.cfg.Interpolation == "random"; !p.random {
		p.filter, _ = resample.ParseFilter(p.cfg.Interpolation) // checked by withDefaults
	}
	if p.cfg.AutoAugment != "" {
		if p.policy, err = ParseRandAugment(p.cfg.AutoAugment); err != nil {
			return nil, err
		}
		for c := range p.cfg.Channels {
			p.policy.Fill[c] = uint8(min(255, round(255*float64(p.cfg.Mean[c]))))
		}
		switch p.filter {
		case resample.Bilinear, resample.Bicubic, resample.Nearest:
			p.policy.RandomFilt, p.policy.Filter = p.random, p.filter
		default: // no such filter without antialiasing
			p.policy.RandomFilt, p.policy.Filter = false, resample.Bicubic
		}
	}
	if p.policy == nil || p.cfg.ForceColorJitter {
		p.jitter = newColorJitter(p.cfg.ColorJitter)
	}
	return p, nil
}

// EvalTransform builds the evaluation pipeline: resize, central crop,
// normalisation.
func EvalTransform(cfg Config) (*Pipeline, error) {
	p, err := newPipeline(cfg)
	if err != nil {
		return nil, err
	}
	p.filter, _ = resample.ParseFilter(p.cfg.EvalInterpolation) // checked by withDefaults
	return p, nil
}

func newPipeline(cfg Config) (*Pipeline, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pipeline{cfg: cfg}
	for c := range cfg.Channels {
		for v := range p.table[c] {
			p.table[c][v] = float32((float64(v)/255 - float64(cfg.Mean[c])) / float64(cfg.Std[c]))
		}
	}
	p.scratch.New = func() any { return &scratch{} }
	return p, nil
}

// Config is the configuration with all defaults filled in.
func (p *Pipeline) Config() Config { return p.cfg }

// Shape is the shape of a result.
func (p *Pipeline) Shape() (channels, height, width int) {
	return p.cfg.Channels, p.cfg.Height, p.cfg.Width
}

// Apply transforms a sample into normalised values [channels, height, width]. It
// may be called from several goroutines at once.
func (p *Pipeline) Apply(dst []float32, s *data.Sample, rng *rand.Rand) error {
	sc := p.scratch.Get().(*scratch)
	defer p.scratch.Put(sc)
	m, err := p.pixels(sc, s, rng)
	if err != nil {
		return err
	}
	p.normalize(dst, m)
	if p.train && p.cfg.ReProb > 0 {
		Erase(dst, p.cfg.Channels, p.cfg.Height, p.cfg.Width, p.cfg.ReProb, p.cfg.ReMode, p.cfg.ReCount, rng)
	}
	return nil
}

// Picture does what Apply does up to normalisation and writes the 8-bit image into
// dst: for looking at.
func (p *Pipeline) Picture(dst *raster.Image, s *data.Sample, rng *rand.Rand) error {
	sc := p.scratch.Get().(*scratch)
	defer p.scratch.Put(sc)
	m, err := p.pixels(sc, s, rng)
	if err != nil {
		return err
	}
	dst.CopyFrom(m)
	return nil
}

// pixels returns the image before normalisation, in one of the buffers of sc.
func (p *Pipeline) pixels(sc *scratch, s *data.Sample, rng *rand.Rand) (*raster.Image, error) {
	width, height, err := s.Size()
	if err != nil {
		return nil, err
	}
	if !p.train {
		return p.evalPixels(sc, s, width, height)
	}
	m, other, err := p.crop(sc, s, width, height, rng)
	if err != nil {
		return nil, err
	}
	if p.cfg.HFlip > 0 && rng.Float64() < p.cfg.HFlip {
		imageops.FlipHorizontal(m)
	}
	if p.cfg.VFlip > 0 && rng.Float64() < p.cfg.VFlip {
		imageops.FlipVertical(m)
	}
	if p.policy != nil {
		m = p.policy.Apply(m, other, rng)
	}
	if p.jitter != (ColorJitter{}) {
		p.jitter.Apply(m, rng)
	}
	return m, nil
}

// crop decodes the random part of the image and brings it to size. It returns the
// buffer with the result and one that is free.
func (p *Pipeline) crop(sc *scratch, s *data.Sample, width, height int, rng *rand.Rand) (m, free *raster.Image, err error) {
	filter := p.filter
	if p.random {
		filter = randomFilter(rng)
	}
	if p.cfg.Crop == CropPadded {
		whole := image.Rect(0, 0, width, height)
		if err := p.resized(sc, s, whole, p.cfg.Width, p.cfg.Height, image.Rect(0, 0, p.cfg.Width, p.cfg.Height), filter); err != nil {
			return nil, nil, err
		}
		if p.cfg.Padding == 0 {
			return &sc.a, &sc.b, nil
		}
		x, y := rng.IntN(2*p.cfg.Padding+1)-p.cfg.Padding, rng.IntN(2*p.cfg.Padding+1)-p.cfg.Padding
		imageops.Crop(&sc.b, &sc.a, x, y, p.cfg.Width, p.cfg.Height, [3]uint8{})
		return &sc.b, &sc.a, nil
	}
	box := RandomResizedCrop(rng, width, height, p.cfg.Scale, p.cfg.Ratio)
	err = p.resized(sc, s, box, p.cfg.Width, p.cfg.Height, image.Rect(0, 0, p.cfg.Width, p.cfg.Height), filter)
	return &sc.a, &sc.b, err
}

// evalPixels resizes and crops for evaluation.
func (p *Pipeline) evalPixels(sc *scratch, s *data.Sample, width, height int) (*raster.Image, error) {
	w, h := EvalSize(width, height, p.cfg.Width, p.cfg.Height, p.cfg.CropPct)
	window := CenterCrop(w, h, p.cfg.Width, p.cfg.Height)
	inside := window.Intersect(image.Rect(0, 0, w, h))
	if err := p.resized(sc, s, image.Rect(0, 0, width, height), w, h, inside, p.filter); err != nil {
		return nil, err
	}
	if inside == window {
		return &sc.a, nil
	}
	imageops.Crop(&sc.b, &sc.a, window.Min.X-inside.Min.X, window.Min.Y-inside.Min.Y, p.cfg.Width, p.cfg.Height, [3]uint8{})
	return &sc.b, nil
}

// resized writes to sc.a the window of the part box of the sample, resized to
// width x height, with the wanted number of channels.
func (p *Pipeline) resized(sc *scratch, s *data.Sample, box image.Rectangle, width, height int, window image.Rectangle, filter resample.Filter) error {
	src := s.Pixels
	if src == nil {
		src = &sc.decoded
		var err error
		if box, err = s.DecodeRegion(src, box, width, height); err != nil {
			return err
		}
	}
	switch {
	case src.Channels == p.cfg.Channels:
		return sc.resizer.ResizeWindow(&sc.a, src, box, width, height, window, filter)
	case p.cfg.Channels == 1: // colour to gray first, as an image loader would
		raster.Convert(&sc.b, src, 1)
		return sc.resizer.ResizeWindow(&sc.a, &sc.b, box, width, height, window, filter)
	}
	if err := sc.resizer.ResizeWindow(&sc.b, src, box, width, height, window, filter); err != nil {
		return err
	}
	raster.Convert(&sc.a, &sc.b, p.cfg.Channels)
	return nil
}

// normalize writes planes of (v/255 - mean) / std.
func (p *Pipeline) normalize(dst []float32, m *raster.Image) {
	n := m.Width * m.Height
	if m.Channels == 1 {
		t := &p.table[0]
		for i, v := range m.Pix {
			dst[i] = t[v]
		}
		return
	}
	r, g, b := dst[:n], dst[n:2*n], dst[2*n:3*n]
	pix := m.Pix[:3*n]
	for i := range r {
		q := pix[3*i : 3*i+3 : 3*i+3]
		r[i], g[i], b[i] = p.table[0][q[0]], p.table[1][q[1]], p.table[2][q[2]]
	}
}

package train

import (
	"errors"
	"fmt"
	"image"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/data/augment"
)

// Pixels is a picture as the model sees it: resized, cut out and normalised,
// channel by channel [channels, height, width].
type Pixels struct {
	Values                  []float32
	Channels, Height, Width int
}

// Pixels prepares one picture as Predict does.
func (p *Predictor) Pixels(sample *data.Sample) (*Pixels, error) {
	x := &Pixels{}
	x.Channels, x.Height, x.Width = p.transform.Shape()
	x.Values = make([]float32, x.Channels*x.Height*x.Width)
	if err := p.transform.Apply(x.Values, sample, data.NewRand(0)); err != nil {
		return nil, fmt.Errorf("train: Pixels: %w", err)
	}
	return x, nil
}

// Picture is the part of a picture that the model sees, resized, before
// normalisation.
func (p *Predictor) Picture(sample *data.Sample) (image.Image, error) {
	pipeline, ok := p.transform.(*augment.Pipeline)
	if !ok {
		return nil, errors.New("train: Picture: the model's pictures are prepared in a way that has none")
	}
	var view data.Image
	if err := pipeline.Picture(&view, sample, data.NewRand(0)); err != nil {
		return nil, fmt.Errorf("train: Picture: %w", err)
	}
	return view.Std(), nil
}

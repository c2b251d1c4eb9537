package train

import (
	"fmt"

	"github.com/gonatten/gonatten/data"
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

package train

import (
	"github.com/gonatten/gonatten/train/optim"
	"github.com/gonatten/gonatten/train/state"
)

// scalerPart is the loss scaler as a part of a run that checkpoints hold.
type scalerPart struct {
	scaler *optim.Scaler
	loop   *State
}

type scalerValue struct {
	Scale     float64 `json:"scale"`
	Finite    int     `json:"finite_steps"` // since the scale last changed
	Overflows int     `json:"overflows"`
}

// SaveState copies the scale and the counts.
func (p scalerPart) SaveState(s *state.Section) error {
	scale, finite, err := p.scaler.State()
	if err != nil {
		return err
	}
	return s.PutValue(scalerValue{scale, finite, p.loop.Overflows})
}

// LoadState puts them back.
func (p scalerPart) LoadState(s *state.Section) error {
	var v scalerValue
	if err := s.Value(&v); err != nil {
		return err
	}
	p.loop.Overflows = v.Overflows
	return p.scaler.SetState(v.Scale, v.Finite)
}

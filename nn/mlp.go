package nn

import (
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// MLP is fc1, GELU, dropout, fc2, dropout: the second half of a transformer block.
type MLP struct {
	Module
	FC1, FC2 *Linear
	drop     float64
}

// NewMLP makes an MLP from dim through hidden back to dim.
func NewMLP(path *gotchnn.Path, dim, hidden int64, drop float64, c LinearConfig) (*MLP, error) {
	m := &MLP{drop: drop}
	m.Module = NewModule(m, "MLP", path)
	var err error
	if m.FC1, err = NewLinear(path.Sub("fc1"), dim, hidden, c); err != nil {
		return nil, err
	}
	if m.FC2, err = NewLinear(path.Sub("fc2"), hidden, dim, c); err != nil {
		return nil, err
	}
	return m, nil
}

// Apply maps [..., dim] to [..., dim].
func (m *MLP) Apply(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	return m.Run(func(s *torch.Scope) *ts.Tensor {
		h := s.Own(m.FC1.Apply(x, train))
		h = s.Dropout(s.GELU(h), m.drop, train)
		h = s.Own(m.FC2.Apply(h, train))
		return s.Dropout(h, m.drop, train)
	})
}

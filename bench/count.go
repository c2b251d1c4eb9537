package bench

import (
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// forwardFLOPs is what the forward pass of a batch computes.
func forwardFLOPs(m *models.Model, o StepOptions) (float64, error) {
	s := torch.NewScope()
	defer s.Close()
	images := s.Zeros([]int64{int64(o.Batch), m.Config.InChans, o.Size, o.Size}, gotch.Float, torch.Meta)
	if s.Err() != nil {
		return 0, s.Err()
	}
	counted, err := flops.Count(m, images)
	if err != nil {
		return 0, err
	}
	return float64(counted.FLOPs), nil
}

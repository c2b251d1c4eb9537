// Package view makes visible what a model looks at: the attention weights of
// one token, block by block, as numbers and as a picture.
package view

import (
	"fmt"

	"github.com/gonatten/gonatten/internal/definition"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/models/blocks"
	"github.com/sugarme/gotch/ts"
)

// Point is a place in a picture: 0, 0 is the top left corner, 1, 1 the bottom
// right one.
type Point struct{ Row, Column float64 }

// Map is what the token at a point attends to in one block.
type Map struct {
	Level, Block         int // from 0
	KernelSize, Dilation int
	Height, Width        int // tokens
	Row, Column          int // the query
	// Weights [Height, Width] is the mean over the heads. It sums to 1 but for
	// what goes to tokens outside the picture, where the layer extends a small
	// map by zeros.
	Weights []float64
}

// Attention follows one image [1, in_chans, H, W] through the model and gives
// the attention of the token at a point in every block.
func Attention(m *models.Model, image *ts.Tensor, at Point) ([]Map, error) {
	info, err := torch.InfoOf(image)
	if err != nil {
		return nil, fmt.Errorf("view: Attention: %w", err)
	}
	if len(info.Shape) != 4 || info.Shape[0] != 1 {
		return nil, fmt.Errorf("view: Attention: image has shape %v, want [1, channels, height, width]", info.Shape)
	}
	if !(at.Row >= 0 && at.Row <= 1 && at.Column >= 0 && at.Column <= 1) {
		return nil, fmt.Errorf("view: Attention: point is %v, %v, want both in [0, 1]", at.Row, at.Column)
	}
	var maps []Map
	err = torch.NoGrad(func() error {
		s := torch.NewScope()
		defer s.Close()
		x := s.Own(m.PatchEmbed.Apply(image, false))
		for i, level := range m.Levels {
			for j, block := range level.Blocks {
				weights, err := attended(s, block, x, at)
				if err != nil {
					return err
				}
				weights.Level, weights.Block = i, j
				maps = append(maps, *weights)
				x = s.Own(block.Apply(x, false))
			}
			if level.Downsample != nil {
				x = s.Own(level.Downsample.Apply(x, false))
			}
		}
		return s.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("view: Attention: %w", err)
	}
	return maps, nil
}

// attended is the map of one block whose input is x.
func attended(s *torch.Scope, block *blocks.Block, x *ts.Tensor, at Point) (*Map, error) {
	if s.Err() != nil {
		return nil, s.Err()
	}
	info, err := torch.InfoOf(x)
	if err != nil {
		return nil, err
	}
	layer := block.Attn.Local()
	m := &Map{KernelSize: int(layer.KernelSize), Dilation: int(layer.Dilation), Height: int(info.Shape[1]), Width: int(info.Shape[2])}
	m.Row, m.Column = place(at.Row, m.Height), place(at.Column, m.Width)
	m.Weights = make([]float64, m.Height*m.Width)

	all := s.Own(layer.Weights(s.Own(block.Norm1.Apply(x, false))))
	token := s.Select(s.Select(s.Select(all, 0, 0), 0, int64(m.Row)), 0, int64(m.Column)) // [heads, slots]
	mean := s.MeanDim(token, false, 0)
	if s.Err() != nil {
		return nil, s.Err()
	}
	weights, err := torch.Slice[float64](mean)
	if err != nil {
		return nil, err
	}
	slot := 0
	for _, row := range keys(m.Height, m.KernelSize, m.Dilation, m.Row) {
		for _, column := range keys(m.Width, m.KernelSize, m.Dilation, m.Column) {
			if row < m.Height && column < m.Width {
				m.Weights[row*m.Width+column] += weights[slot]
			}
			slot++
		}
	}
	return m, nil
}

// keys are the tokens on one axis that a query attends to, some of them beyond
// the map where the layer extends it.
func keys(length, kernel, dilation, query int) []int {
	return definition.Axis{Length: max(length, kernel*dilation), Kernel: kernel, Dilation: dilation}.Keys(query)
}

// place is the token that a relative coordinate falls on.
func place(at float64, length int) int { return min(int(at*float64(length)), length-1) }

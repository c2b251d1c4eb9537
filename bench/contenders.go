package bench

import (
	"math"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/byrank"
	"github.com/gonatten/gonatten/internal/torch"
)

// contender computes one forward pass over its own inputs; its output is the
// caller's.
type contender struct {
	name    string
	leaves  []*ts.Tensor
	forward func() (*ts.Tensor, error)
}

var (
	opSDPA = torch.NewOp("aten::scaled_dot_product_attention")
	opMM   = torch.NewOp("aten::mm")
)

// Above this the unfused pair's attention weights or dense attention's work are not worth waiting for.
const (
	maxWeights    = 1 << 28 // elements
	maxDenseFLOPs = 5e10
)

// contenders makes the peers of one shape. They own scope's tensors.
func contenders(s *torch.Scope, shape Shape, dtype gotch.DType, train bool) []contender {
	q, k, v := inputs(s, shape, dtype, train)
	rank := len(shape.Spatial)
	o := functional.Options{KernelSize: shape.KernelSize, Dilation: shape.Dilation}
	leaves := []*ts.Tensor{q, k, v}
	if shape.RPB {
		table := []int64{shape.Heads}
		for _, k := range shape.KernelSize {
			table = append(table, 2*k-1)
		}
		o.RPB = s.Randn(table, gotch.Float, torch.CPU)
		if dtype == gotch.Double {
			o.RPB = s.To(o.RPB, dtype)
		}
		s.RequiresGrad(o.RPB, train)
		leaves = append(leaves, o.RPB)
	}
	list := []contender{{"fused", leaves, func() (*ts.Tensor, error) { return byrank.NA[rank-1](q, k, v, o) }}}

	weights := shape.Batch * shape.Heads * shape.Tokens() * product(shape.KernelSize)
	if weights <= maxWeights {
		u := o
		u.Scale = 1 / math.Sqrt(float64(shape.Dim))
		list = append(list, contender{"unfused", leaves, func() (*ts.Tensor, error) {
			t := torch.NewScope()
			defer t.Close()
			w := t.Softmax(t.Own(byrank.QK[rank-1](q, k, u)), -1)
			return t.Return(t.Own(byrank.AV[rank-1](w, v, u)))
		}})
	}
	if n := float64(shape.Tokens()); 4*float64(shape.Batch*shape.Heads*shape.Dim)*n*n <= maxDenseFLOPs {
		dense := Shape{Batch: shape.Batch, Heads: shape.Tokens(), Spatial: []int64{shape.Heads}, Dim: shape.Dim}
		dq, dk, dv := inputs(s, dense, dtype, train) // [B, heads, tokens, dim]
		list = append(list, contender{"dense", []*ts.Tensor{dq, dk, dv}, func() (*ts.Tensor, error) {
			t := torch.NewScope()
			defer t.Close()
			return t.Return(t.Op(opSDPA, dq, dk, dv))
		}})
	}
	return list
}

func inputs(s *torch.Scope, shape Shape, dtype gotch.DType, train bool) (q, k, v *ts.Tensor) {
	size := append(append([]int64{shape.Batch}, shape.Spatial...), shape.Heads, shape.Dim)
	make1 := func() *ts.Tensor {
		t := s.To(s.Randn(size, gotch.Float, torch.CPU), dtype)
		s.RequiresGrad(t, train)
		return t
	}
	return make1(), make1(), make1()
}

// gemmSide makes the yardstick's product large enough to run at full speed.
const gemmSide = 1024

func gemm(s *torch.Scope) contender {
	a := s.Randn([]int64{gemmSide, gemmSide}, gotch.Float, torch.CPU)
	b := s.Randn([]int64{gemmSide, gemmSide}, gotch.Float, torch.CPU)
	return contender{name: "sgemm", forward: func() (*ts.Tensor, error) {
		t := torch.NewScope()
		defer t.Close()
		return t.Return(t.Op(opMM, a, b))
	}}
}

const gemmFLOPs = 2 * float64(gemmSide) * gemmSide * gemmSide

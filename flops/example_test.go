package flops_test

import (
	"fmt"
	"log"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/nn"
)

// Any gotch model is counted, with the names of its variable store.
func ExampleCount() {
	vs := gotchnn.NewVarStore(gotch.CPU)
	mlp := gotchnn.Seq()
	mlp.Add(gotchnn.NewLinear(vs.Root().Sub("wide"), 64, 256, gotchnn.DefaultLinearConfig()))
	mlp.AddFn(gotchnn.NewFunc(func(x *ts.Tensor) *ts.Tensor { return x.MustRelu(false) }))
	mlp.Add(gotchnn.NewLinear(vs.Root().Sub("narrow"), 256, 10, gotchnn.DefaultLinearConfig()))

	x, err := flops.Input(8, 64)
	if err != nil {
		log.Fatal(err)
	}
	defer x.MustDrop()
	r, err := flops.Count(mlp, x, flops.WithVariables(vs), flops.WithName("mlp"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.MACs, "MACs,", r.FLOPs, "FLOPs,", r.Parameters, "parameters")
	fmt.Println("narrow:", r.Module("narrow").MACs)
	// Output:
	// 151552 MACs, 307280 FLOPs, 19210 parameters
	// narrow: 20480
}

// A function of several inputs.
func ExampleCountFunc() {
	queries, err := flops.Input(1, 4, 100, 32) // [batch, heads, tokens, head_dim]
	if err != nil {
		log.Fatal(err)
	}
	keys, err := flops.Input(1, 4, 50, 32)
	if err != nil {
		log.Fatal(err)
	}
	r, err := flops.CountFunc(func(inputs ...*ts.Tensor) error {
		none := ts.NewTensor()
		y, err := ts.ScaledDotProductAttention(inputs[0], inputs[1], inputs[1], none, 0, false, nil)
		if err != nil {
			return err
		}
		return y.Drop()
	}, []*ts.Tensor{queries, keys}, flops.WithName("cross attention"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Model, r.MACs == 2*4*100*50*32)
	// Output: cross attention true
}

// An operator of one's own gets a formula; without one it is reported as not
// counted.
func ExampleRegistry_Handle() {
	registry := flops.NewRegistry()
	registry.Handle("mylib::op", func(op *flops.Op) flops.Cost {
		return flops.Cost{FLOPs: 3 * op.OutNumel(0)}
	})
	flops.AddHandlers(registry, flops.NATTEN0175) // or somebody's own counter with a method Handle

	vs := gotchnn.NewVarStore(gotch.CPU)
	attn, err := nn.NewNeighborhoodAttention2D(vs.Root().Sub("attn"), 32, 1, nn.AttentionConfig{KernelSize: 7})
	if err != nil {
		log.Fatal(err)
	}
	x, err := flops.Input(1, 56, 56, 32)
	if err != nil {
		log.Fatal(err)
	}
	r, err := flops.Count(attn, x, flops.WithRegistry(registry))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Operator("na2d_qk").MACs == 56*56*49*32, len(r.Unsupported))
	// Output: true 0
}

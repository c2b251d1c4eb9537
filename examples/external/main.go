// Command external is a Go module of its own that uses neighborhood attention
// in a model written with gotch: it trains one step and prints the loss before
// and after. Build it with the exports of `natten env`:
//
//	eval "$(natten env)"
//	go run .
package main

import (
	"fmt"
	"log"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/nn"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

func main() {
	vs := gotchnn.NewVarStore(gotch.CPU)
	attn, err := nn.NewNeighborhoodAttention2D(vs.Root().Sub("attn"), 32, 4, nn.AttentionConfig{KernelSize: 7})
	if err != nil {
		log.Fatal(err)
	}
	head := gotchnn.NewLinear(vs.Root().Sub("head"), 32, 10, gotchnn.DefaultLinearConfig())
	optimizer, err := gotchnn.DefaultAdamConfig().Build(vs, 1e-2)
	if err != nil {
		log.Fatal(err)
	}
	x := ts.MustRandn([]int64{8, 14, 14, 32}, gotch.Float, gotch.CPU)
	labels := ts.MustOfSlice([]int64{0, 1, 2, 3, 4, 5, 6, 7})
	// A tensor stays referenced until the operation that reads it is over, and is
	// dropped then: gotch frees what it finds unreferenced, even in mid-call.
	loss := func() *ts.Tensor {
		tokens := attn.Forward(x)
		pooled := tokens.MustMeanDim([]int64{1, 2}, false, gotch.Float, false)
		logits := head.Forward(pooled)
		loss := logits.CrossEntropyForLogits(labels)
		for _, t := range []*ts.Tensor{tokens, pooled, logits} {
			t.MustDrop()
		}
		return loss
	}
	before := loss()
	if err := optimizer.BackwardStep(before); err != nil {
		log.Fatal(err)
	}
	after := loss()
	fmt.Printf("loss before %.4f, after one step %.4f\n", before.Float64Values()[0], after.Float64Values()[0])
	if after.Float64Values()[0] >= before.Float64Values()[0] {
		log.Fatal("the step did not lower the loss")
	}

	// The functional form: any q, k, v of your own model.
	q := ts.MustRandn([]int64{1, 28, 28, 2, 16}, gotch.Float, gotch.CPU)
	out, err := functional.NA2D(q, q, q, functional.Options{KernelSize: []int64{7}, Dilation: []int64{4}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("functional output", out.MustSize())
	_, err = functional.NA2D(q, q, q, functional.Options{KernelSize: []int64{7}, Dilation: []int64{8}})
	fmt.Println("too large a window:", err)
}

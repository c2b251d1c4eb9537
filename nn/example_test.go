package nn_test

import (
	"fmt"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/nn"
)

// A layer of 64 features in two heads over a map of 14x14 tokens.
func Example() {
	vs := gotchnn.NewVarStore(gotch.CPU)
	layer, err := nn.NewNeighborhoodAttention2D(vs.Root(), 64, 2, nn.AttentionConfig{KernelSize: 7, Dilation: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens := ts.MustRandn([]int64{1, 14, 14, 64}, gotch.Float, gotch.CPU)
	defer tokens.MustDrop()
	out, err := layer.Apply(tokens, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer out.MustDrop()
	fmt.Println(out.MustSize())
	// Output: [1 14 14 64]
}

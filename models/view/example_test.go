package view_test

import (
	"fmt"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/models/view"
)

// The tokens that the one in the middle attends to, in every block.
func ExampleAttention() {
	model, err := models.New("nat_nano_28", gotchnn.NewVarStore(gotch.CPU).Root())
	if err != nil {
		fmt.Println(err)
		return
	}
	image := ts.MustZeros([]int64{1, 1, 28, 28}, gotch.Float, gotch.CPU)
	defer image.MustDrop()
	maps, err := view.Attention(model, image, view.Point{Row: 0.5, Column: 0.5})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range maps {
		attended := 0
		for _, w := range m.Weights {
			if w > 0 {
				attended++
			}
		}
		fmt.Printf("level %d block %d: %d of %d tokens\n", m.Level, m.Block, attended, len(m.Weights))
	}
	// Output:
	// level 0 block 0: 9 of 196 tokens
	// level 1 block 0: 9 of 49 tokens
	// level 1 block 1: 9 of 49 tokens
	// level 2 block 0: 9 of 16 tokens
	// level 2 block 1: 9 of 16 tokens
}

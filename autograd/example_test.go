package autograd_test

import (
	"fmt"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/autograd"
	"github.com/gonatten/gonatten/functional"
)

// What an input's first token adds to the sum of all outputs: the two windows
// that see it weigh it with a third each.
func Example() {
	x := ts.MustOnes([]int64{1, 5, 1, 2}, gotch.Double, gotch.CPU).MustSetRequiresGrad(true, true)
	defer x.MustDrop()
	out, err := functional.NA1D(x, x, x, functional.K(3))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer out.MustDrop()
	seed := ts.MustOnes([]int64{1, 5, 1, 2}, gotch.Double, gotch.CPU)
	defer seed.MustDrop()
	gradients, err := autograd.Grad([]*ts.Tensor{out}, []*ts.Tensor{x}, autograd.GradOptions{Seeds: []*ts.Tensor{seed}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gradients[0].MustDrop()
	fmt.Printf("%.3f\n", gradients[0].Float64Values()[0])
	// Output: 0.667
}

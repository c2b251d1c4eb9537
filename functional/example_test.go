package functional_test

import (
	"errors"
	"fmt"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
)

// A map of 7x7 tokens with 2 heads of 4 features; each token attends to the 3x3
// tokens nearest to it.
func ExampleNA2D() {
	q := ts.MustOnes([]int64{1, 7, 7, 2, 4}, gotch.Float, gotch.CPU)
	defer q.MustDrop()
	out, err := functional.NA2D(q, q, q, functional.K(3))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer out.MustDrop()
	fmt.Println(out.MustSize())

	_, err = functional.NA2D(q, q, q, functional.K(9))
	fmt.Println(err)
	// Output:
	// [1 7 7 2 4]
	// functional: NA2D: kernel_size[0] is 9 at dilation 1, which exceeds the 7 tokens of spatial axis 0
}

// Different kernels per axis, the first axis (time) causal: no frame looks
// ahead. The tensors are heads-first.
func ExampleNA3D() {
	q := ts.MustOnes([]int64{1, 2, 8, 6, 6, 4}, gotch.Float, gotch.CPU)
	defer q.MustDrop()
	out, err := functional.NA3D(q, q, q, functional.Options{
		KernelSize: []int64{4, 3, 3},
		Dilation:   []int64{1, 2, 2},
		IsCausal:   []bool{true, false, false},
		Layout:     functional.HeadsFirst,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer out.MustDrop()
	fmt.Println(out.MustSize())
	// Output: [1 2 8 6 6 4]
}

// The unfused pair shows the attention weights. The keys are 0, 1, 2, 3 and
// every query is 1, so the logits are the keys in each query's window.
func ExampleNA1DQK() {
	q := ts.MustOnes([]int64{1, 4, 1, 1}, gotch.Float, gotch.CPU)
	defer q.MustDrop()
	k := ts.MustOfSlice([]float32{0, 1, 2, 3}).MustView([]int64{1, 4, 1, 1}, true)
	defer k.MustDrop()
	logits := functional.MustNA1DQK(q, k, functional.K(3))
	defer logits.MustDrop()
	fmt.Println(logits.Float64Values())

	attn := logits.MustSoftmax(-1, gotch.Float, false)
	defer attn.MustDrop()
	out := functional.MustNA1DAV(attn, k, functional.K(3))
	defer out.MustDrop()
	fmt.Printf("%.3f\n", out.Float64Values())
	// Output:
	// [0 1 2 0 1 2 1 2 3 1 2 3]
	// [1.575 1.575 2.575 2.575]
}

// Must functions panic with an *Error, which names the function.
func ExampleError() {
	defer func() {
		var e *functional.Error
		if err, ok := recover().(error); ok && errors.As(err, &e) {
			fmt.Println(e.Func)
			fmt.Println(e.Err)
		}
	}()
	x := ts.MustOnes([]int64{1, 5, 1, 8}, gotch.Float, gotch.CPU)
	defer x.MustDrop()
	functional.MustNA1D(x, x, x, functional.Options{KernelSize: []int64{3}, Dilation: []int64{2}})
	// Output:
	// NA1D
	// kernel_size[0] is 3 at dilation 2, which exceeds the 5 tokens of spatial axis 0
}

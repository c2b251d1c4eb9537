package nat_test

import (
	"fmt"

	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/models/nat"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

// A NAT of one's own size, for small grey pictures.
func ExampleNew() {
	vs := gotchnn.NewVarStore(gotch.CPU)
	model, err := nat.New(vs.Root(), models.Config{
		InChans: 1, NumClasses: 10, EmbedDim: 16, Depths: []int64{1, 2}, NumHeads: []int64{1, 2}, KernelSize: 5, StemStride: 2,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	images := ts.MustZeros([]int64{4, 1, 28, 28}, gotch.Float, gotch.CPU)
	defer images.MustDrop()
	logits, err := model.Apply(images, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer logits.MustDrop()
	parameters, _ := model.NumParameters()
	fmt.Println(logits.MustSize(), parameters)
	// Output: [4 10] 30751
}

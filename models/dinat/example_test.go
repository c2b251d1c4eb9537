package dinat_test

import (
	"fmt"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/models/dinat"
)

// A DiNAT of one's own size. Options change a published one likewise:
// dinat.Tiny(path, models.WithImageSize(384)).
func ExampleNew() {
	vs := gotchnn.NewVarStore(gotch.CPU)
	depths := []int64{2, 2}
	model, err := dinat.New(vs.Root(), models.Config{
		EmbedDim: 32, Depths: depths, NumHeads: []int64{1, 2}, Dilations: models.Alternate(depths, []int64{4, 2}), NumClasses: 10,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, level := range model.Levels {
		for _, block := range level.Blocks {
			fmt.Println(block.Name(), block.Attn.Local().Dilation)
		}
	}
	// Output:
	// levels.0.blocks.0 1
	// levels.0.blocks.1 4
	// levels.1.blocks.0 1
	// levels.1.blocks.1 2
}

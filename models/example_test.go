package models_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/models"
)

// A published variant for ten classes of one's own.
func ExampleNew() {
	vs := gotchnn.NewVarStore(gotch.CPU)
	model, err := models.New("nat_mini", vs.Root(), models.WithNumClasses(10))
	if err != nil {
		fmt.Println(err)
		return
	}
	images := ts.MustZeros([]int64{1, 3, 224, 224}, gotch.Float, gotch.CPU)
	defer images.MustDrop()
	logits, err := model.Apply(images, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer logits.MustDrop()
	parameters, _ := model.NumParameters()
	fmt.Println(logits.MustSize(), parameters)
	// Output: [1 10] 19476304
}

// Feature maps of two levels for a detector, from a picture of any size.
func ExampleModel_Features() {
	vs := gotchnn.NewVarStore(gotch.CPU)
	model, err := models.New("dinat_mini", vs.Root(), models.WithOutIndices(2, 3))
	if err != nil {
		fmt.Println(err)
		return
	}
	images := ts.MustZeros([]int64{1, 3, 200, 300}, gotch.Float, gotch.CPU)
	defer images.MustDrop()
	maps, err := model.Features(images, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range maps {
		fmt.Println(m.MustSize())
		m.MustDrop()
	}
	// Output:
	// [1 256 13 19]
	// [1 512 7 10]
}

// A model is saved, and opened again for other classes: the body is loaded, the
// head starts anew.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "models")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "nano.safetensors")
	model, err := models.New("nat_nano_28", gotchnn.NewVarStore(gotch.CPU).Root())
	if err == nil {
		err = model.Save(file, models.SaveOptions{})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	tuned, _, report, err := models.Open(file, gotchnn.NewVarStore(gotch.CPU).Root(), nil, models.WithNumClasses(3))
	if err != nil {
		fmt.Println(err)
		return
	}
	frozen, err := tuned.Freeze("patch_embed", "levels.0")
	fmt.Println(report)
	fmt.Println(frozen, "tensors frozen", err)
	// Output:
	// loaded 79 of 81 tensors; head re-initialised (10 -> 3 classes)
	// 22 tensors frozen <nil>
}

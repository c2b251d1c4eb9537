package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gonatten/gonatten/checkpoint"
)

func ExampleSaveSafetensors() {
	dir, err := os.MkdirTemp("", "checkpoint")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.safetensors")

	bias, err := checkpoint.FromFloat32s([]float32{0.5, -1, 2}, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	weights := checkpoint.NewStateDict()
	weights.Set("head.bias", bias)
	if err := checkpoint.SaveSafetensors(path, weights, map[string]string{"model": "nat_mini"}); err != nil {
		fmt.Println(err)
		return
	}

	c, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for name, t := range c.Tensors.All() {
		values, err := t.Float32s()
		fmt.Println(name, t, values, err)
	}
	fmt.Println(c.Metadata["model"])
	// Output:
	// head.bias F32[3] [0.5 -1 2] <nil>
	// nat_mini
}

package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gonatten/gonatten/checkpoint"
)

// A training checkpoint of timm: weights, averaged weights, optimizer state, and an argparse.Namespace.
func ExampleOpen() {
	c, err := checkpoint.Open("testdata/models/nat_ls_k7/checkpoint_timm.pth.tar", &checkpoint.Options{UseEMA: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Println(c.Format, c.Layout, c.Tensors.Len(), "tensors, epoch", c.Extra["epoch"])
	rpb, _ := c.Tensors.Get("levels.0.blocks.0.attn.rpb")
	fmt.Println(rpb)
	// Output:
	// torch official 76 tensors, epoch 12
	// F32[2,13,13]
}

// A folder of transformers is read in the official layout, with its configuration.
func ExampleOpen_huggingFace() {
	c, err := checkpoint.Open("testdata/hf/hf_dinat_ls", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	model, err := c.Config.Model()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Layout, model.ModelType, model.Depths, model.Dilations)
	qkv, _ := c.Tensors.Get("levels.0.blocks.0.attn.qkv.weight")
	fmt.Println(qkv)
	// Output:
	// hf dinat [2 2 1] [[1 5] [1 3] [1]]
	// F32[48,16]
}

// A model for five classes with an 11x11 kernel at its first level takes weights of ten classes and kernel 7.
func ExampleMatch() {
	c, err := checkpoint.Open("testdata/models/nat_ls_k7/weights.pth", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	var want []checkpoint.Spec
	for name, t := range c.Tensors.All() {
		shape := t.Shape()
		switch name {
		case "head.weight", "head.bias":
			shape[0] = 5
		case "levels.0.blocks.0.attn.rpb":
			shape[1], shape[2] = 21, 21
		}
		want = append(want, checkpoint.Spec{Name: name, Shape: shape})
	}
	plan, err := checkpoint.Match(want, c.Tensors, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(&plan.Report)
	n := 0
	for range plan.All() { // copy each into the model here
		n++
	}
	fmt.Println(n, "to copy")
	// Output:
	// loaded 74 of 76 tensors; head re-initialised (10 -> 5 classes); 1 rpb resized bicubically (13x13 -> 21x21)
	// 74 to copy
}

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

	c, err := checkpoint.Open(path, nil)
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

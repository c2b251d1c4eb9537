package data_test

import (
	"context"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/data/augment"
)

// An image folder is opened by its path.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "images")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	for _, class := range []string{"cat", "dog"} {
		path := filepath.Join(dir, "train", class)
		if err := os.MkdirAll(path, 0o755); err != nil {
			fmt.Println(err)
			return
		}
		f, err := os.Create(filepath.Join(path, "1.png"))
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := png.Encode(f, image.NewGray(image.Rect(0, 0, 6, 4))); err != nil {
			fmt.Println(err)
		}
		f.Close()
	}

	ds, err := data.Open(context.Background(), dir, "train", data.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := ds.Sample(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	w, h, err := s.Size()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ds.Len(), ds.Classes()[s.Label], w, h)
	// Output: 2 dog 6 4
}

// A loader turns a dataset and a transform into batches, in an order and with
// random numbers that the seed and the epoch decide.
func ExampleNewLoader() {
	pixels, labels := make([]uint8, 10*28*28), make([]uint8, 10)
	ds, err := data.NewMemory("blank", pixels, 28, 28, 1, labels, []string{"nothing"})
	if err != nil {
		fmt.Println(err)
		return
	}
	transform, err := augment.TrainTransform(augment.Config{
		Height: 28, Width: 28, Channels: 1, Crop: augment.CropPadded, Padding: 2, HFlip: 0.5,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	loader, err := data.NewLoader(ds, transform, data.LoaderOptions{BatchSize: 4, Shuffle: true, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	const epoch, firstBatch = 0, 0
	for batch, err := range loader.Epoch(context.Background(), epoch, firstBatch) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(batch.Number, len(batch.Labels), len(batch.Images))
		batch.Release()
	}
	// Output:
	// 0 4 3136
	// 1 4 3136
	// 2 2 1568
}

package data_test

import (
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"

	"github.com/gonatten/gonatten/data"
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

	ds, err := data.Open(dir, "train", data.Options{})
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

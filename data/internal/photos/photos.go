// Package photos draws pictures with the statistics of photographs, for
// benchmarks on machines without a photo collection: a power spectrum that falls
// as 1/f, objects with sharp edges and textures of their own, colours that vary
// less than brightness, some sensor noise. What a JPEG decoder has to do depends
// on those, and on the bytes per pixel, which are those of ImageNet's training
// images (110 kB on average at about 400 x 350 to 500 x 375).
package photos

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/gonatten/gonatten/data/raster"
	"github.com/gonatten/gonatten/data/resample"
)

// field returns width*height values with a 1/f spectrum, mean 0 and standard
// deviation about 1: octaves of smoothly enlarged noise.
func field(rng *rand.Rand, width, height int) []float32 {
	out := make([]float32, width*height)
	var r resample.Resizer
	for n := 2; n < max(width, height); n *= 2 {
		grid := raster.New(n+1, n+1, 1)
		for i := range grid.Pix {
			grid.Pix[i] = uint8(min(255, max(0, 128+rng.NormFloat64()*40)))
		}
		big := &raster.Image{}
		if err := r.Resize(big, grid, image.Rect(0, 0, n+1, n+1), width, height, resample.Bicubic); err != nil {
			panic(err) // the sizes are positive
		}
		amplitude := float32(1 / (40 * math.Pow(float64(n), 0.5)))
		for i, v := range big.Pix {
			out[i] += amplitude * (float32(v) - 128)
		}
	}
	return out
}

// Draw returns the picture of a seed.
func Draw(seed uint64, width, height int) *raster.Image {
	rng := rand.New(rand.NewPCG(seed, 1))
	type texture struct{ y, u, v []float32 }
	textures := make([]texture, 3)
	for i := range textures {
		textures[i] = texture{field(rng, width, height), field(rng, width, height), field(rng, width, height)}
	}
	type object struct {
		cx, cy, rx, ry float64
		t              int
		y, u, v        float32
	}
	objects := []object{{cx: 0, cy: 0, rx: 1e9, ry: 1e9, y: 120}}
	for i := range 12 {
		objects = append(objects, object{
			cx: rng.Float64() * float64(width), cy: rng.Float64() * float64(height),
			rx: 10 + rng.Float64()*90, ry: 10 + rng.Float64()*90, t: i % 3,
			y: 60 + 140*rng.Float32(), u: 60*rng.Float32() - 30, v: 60*rng.Float32() - 30,
		})
	}
	m := raster.New(width, height, 3)
	for py := range height {
		for px := range width {
			o := objects[0]
			for _, c := range objects[1:] {
				dx, dy := (float64(px)-c.cx)/c.rx, (float64(py)-c.cy)/c.ry
				if dx*dx+dy*dy < 1 {
					o = c
				}
			}
			i := py*width + px
			t := textures[o.t]
			y := o.y + (50+35*float32(o.t))*t.y[i] + float32(rng.NormFloat64()*3)
			u, v := o.u+18*t.u[i], o.v+18*t.v[i]
			p := m.Pix[3*i : 3*i+3]
			for k, f := range [3]float32{y + 1.402*v, y - 0.344*u - 0.714*v, y + 1.772*u} {
				p[k] = uint8(min(255, max(0, f)))
			}
		}
	}
	return m
}

// JPEG returns the picture of a seed as a baseline 4:2:0 JPEG file.
func JPEG(seed uint64, width, height, quality int) ([]byte, error) {
	var buf bytes.Buffer
	err := jpeg.Encode(&buf, Draw(seed, width, height).Std(), &jpeg.Options{Quality: quality})
	return buf.Bytes(), err
}

// WriteFolder makes an image folder of n pictures of 500 x 375 or 375 x 500
// pixels in two classes where dir does not exist or is empty. What is there
// stays as it is.
func WriteFolder(dir string, n int) error {
	if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("class%d", i%2), fmt.Sprintf("%04d.jpg", i))
		w, h := 500, 375
		if i%4 == 3 {
			w, h = h, w
		}
		data, err := JPEG(uint64(i), w, h, 96)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

package checkpoint

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

// natBaseSized is about as large as NAT-Base: 90 million floats in some 600 tensors.
func natBaseSized() *StateDict {
	r := rand.New(rand.NewPCG(1, 2))
	s := NewStateDict()
	for i := range 600 {
		values := make([]float32, 150_000)
		for j := range values {
			values[j] = r.Float32()
		}
		s.Set(fmt.Sprint("levels.", i, ".weight"), must(FromFloat32s(values, int64(len(values)))))
	}
	return s
}

// BenchmarkLoad opens a file of 360 MB and copies every tensor into memory that is there already, as loading into a
// model does. scripts/peers/check_checkpoints.py --bench compares with Python.
func BenchmarkLoad(b *testing.B) {
	s := natBaseSized()
	dir := b.TempDir()
	st, pth := filepath.Join(dir, "w.safetensors"), filepath.Join(dir, "w.pth")
	if err := SaveSafetensors(st, s, nil); err != nil {
		b.Fatal(err)
	}
	if err := SaveTorch(pth, s); err != nil {
		b.Fatal(err)
	}
	params := make([]byte, 600_000)
	for _, path := range []string{st, pth} {
		b.Run(filepath.Ext(path)[1:], func(b *testing.B) {
			b.SetBytes(s.NumBytes())
			b.ReportAllocs()
			for b.Loop() {
				c, err := Open(path, nil)
				if err != nil {
					b.Fatal(err)
				}
				for _, t := range c.Tensors.All() {
					copy(params, t.Bytes())
				}
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSave writes 360 MB, with the flush to disk that makes it durable.
func BenchmarkSave(b *testing.B) {
	s := natBaseSized()
	dir := b.TempDir()
	for name, save := range map[string]func(path string) error{
		"safetensors": func(path string) error { return SaveSafetensors(path, s, nil) },
		"pth":         func(path string) error { return SaveTorch(path, s) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(s.NumBytes())
			for b.Loop() {
				if err := save(filepath.Join(dir, "out")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

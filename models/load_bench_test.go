package models_test

import (
	"path/filepath"
	"testing"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/models"
)

// BenchmarkLoad loads NAT-Base (360 MB) into a model from the page cache, from
// both formats that are written.
func BenchmarkLoad(b *testing.B) {
	m, err := models.New("nat_base", gotchnn.NewVarStore(gotch.CPU).Root())
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"nat_base.safetensors", "nat_base.pth"} {
		path := filepath.Join(b.TempDir(), name)
		if err := m.Save(path, models.SaveOptions{}); err != nil {
			b.Fatal(err)
		}
		b.Run(filepath.Ext(name)[1:], func(b *testing.B) {
			b.SetBytes(4 * 89769652)
			for b.Loop() {
				if _, err := m.LoadFile(path, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

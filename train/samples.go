package train

import (
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/atomicfile"
)

// saveSamples writes n images of a dataset as PNG files named by number and
// class, one class after the other while there are enough.
func saveSamples(dir string, ds data.Dataset, n int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("train: samples: %w", err)
	}
	seen := map[int]int{} // class -> images taken
	taken := 0
	rounds := (n + len(ds.Classes()) - 1) / max(len(ds.Classes()), 1)
	labels, _ := ds.(data.Labeled)
	for i := 0; i < ds.Len() && taken < n; i++ {
		if labels != nil && seen[labels.Label(i)] >= rounds {
			continue
		}
		sample, err := ds.Sample(i)
		if err != nil {
			continue // training has reported unreadable images
		}
		var picture data.Image
		if seen[sample.Label] >= rounds || sample.Decode(&picture) != nil {
			continue
		}
		seen[sample.Label]++
		name := fmt.Sprintf("%02d-%s.png", taken, fileName(ds.Classes()[sample.Label]))
		taken++
		if err := atomicfile.Write(filepath.Join(dir, name), func(w io.Writer) error {
			return png.Encode(w, picture.Std())
		}); err != nil {
			return fmt.Errorf("train: samples: %w", err)
		}
	}
	return nil
}

// fileName makes a class name safe for a file: "T-shirt/top" is "T-shirt-top".
func fileName(class string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, class)
}

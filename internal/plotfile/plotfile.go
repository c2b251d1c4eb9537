// Package plotfile writes plots to files, whole or not at all.
package plotfile

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"

	"github.com/gonatten/gonatten/internal/atomicfile"
)

// Endings are those of the files that can be written, and thereby the formats.
var Endings = []string{".png", ".svg", ".pdf", ".jpg", ".jpeg", ".tif", ".tiff", ".eps", ".tex"}

// Check tells, before the work whose result a plot shows, whether a file's ending is that of a picture and whether the file
// could be made.
func Check(file string) error {
	if err := checkEnding(file); err != nil {
		return err
	}
	return atomicfile.Check(file)
}

func checkEnding(file string) error {
	if !slices.Contains(Endings, strings.ToLower(filepath.Ext(file))) {
		return fmt.Errorf("%s: want a name that ends in .png, .svg or .pdf", file)
	}
	return nil
}

// Save draws a plot of that size into a file; its ending says the format.
func Save(p *plot.Plot, width, height vg.Length, file string) error {
	if err := checkEnding(file); err != nil {
		return err
	}
	picture, err := p.WriterTo(width, height, strings.ToLower(filepath.Ext(file)[1:]))
	if err != nil {
		return err
	}
	return atomicfile.Write(file, func(w io.Writer) error {
		_, err := picture.WriteTo(w)
		return err
	})
}

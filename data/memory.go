package data

import (
	"fmt"

	"github.com/gonatten/gonatten/data/raster"
)

// Memory is a dataset of equally sized images held decoded in one slice, each
// image Height*Width*Channels bytes, rows of interleaved pixels.
type Memory struct {
	name     string
	images   []raster.Image
	labels   []uint8
	classes  []string
	channels int
}

// NewMemory wraps pixels and labels without copying them. It fails where their
// lengths do not fit together or a label has no class.
func NewMemory(name string, pix []uint8, width, height, channels int, labels []uint8, classes []string) (*Memory, error) {
	if width < 1 || height < 1 || (channels != 1 && channels != 3) {
		return nil, fmt.Errorf("data: %s: bad image shape %dx%d with %d channels", name, width, height, channels)
	}
	size := width * height * channels
	if len(pix) != size*len(labels) {
		return nil, fmt.Errorf("data: %s: %d bytes of pixels for %d labels, want %d", name, len(pix), len(labels), size*len(labels))
	}
	for i, l := range labels {
		if int(l) >= len(classes) {
			return nil, fmt.Errorf("data: %s: sample %d has label %d, there are %d classes", name, i, l, len(classes))
		}
	}
	images := make([]raster.Image, len(labels))
	for i := range images {
		images[i] = raster.Image{Pix: pix[i*size : (i+1)*size : (i+1)*size], Width: width, Height: height, Channels: channels}
	}
	return &Memory{name: name, images: images, labels: labels, classes: classes, channels: channels}, nil
}

// Len is the number of samples.
func (m *Memory) Len() int { return len(m.images) }

// Classes are the names of the classes.
func (m *Memory) Classes() []string { return m.classes }

// Label is the label of sample i.
func (m *Memory) Label(i int) int { return int(m.labels[i]) }

// Sample returns sample i; its Pixels are the dataset's own.
func (m *Memory) Sample(i int) (Sample, error) {
	if err := checkIndex(m.name, i, m.Len()); err != nil {
		return Sample{}, err
	}
	return Sample{Index: i, Label: int(m.labels[i]), Name: fmt.Sprintf("%s #%d", m.name, i), Pixels: &m.images[i]}, nil
}

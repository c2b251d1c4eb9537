package data

import (
	"errors"
	"fmt"
	"image"
	"io"
	"os"

	"github.com/gonatten/gonatten/data/codec"
	"github.com/gonatten/gonatten/data/raster"
)

// Dataset is an indexed collection of labelled images. Its methods may be called
// from several goroutines at once.
type Dataset interface {
	// Len is the number of samples.
	Len() int
	// Classes are the names of the classes: label i is Classes()[i]. It is not to
	// be changed.
	Classes() []string
	// Sample reads sample i, 0 <= i < Len(). The image is not decoded yet. Errors
	// are *SampleError.
	Sample(i int) (Sample, error)
}

// Image is the picture type of the pipeline, see package raster.
type Image = raster.Image

// Sample is one labelled image, in memory either as pixels or as the bytes of an
// image file.
type Sample struct {
	Index int    // position in its dataset
	Label int    // class
	Name  string // what a message calls it: a path, or a set's name and a number

	// Pixels is the image where it is held decoded. It belongs to the dataset and
	// must not be written to.
	Pixels *Image
	// Encoded holds the file's bytes where Pixels is nil.
	Encoded []byte
}

// Close frees what a dataset holds open, if anything.
func Close(ds Dataset) error {
	if c, ok := ds.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// ReadSample reads one image file that belongs to no dataset, for prediction. Its
// label is -1.
func ReadSample(path string) (Sample, error) {
	s := Sample{Label: -1, Name: path}
	data, err := os.ReadFile(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err // the name is in the sample
		}
		return Sample{}, fmt.Errorf("data: %s: %w", path, err)
	}
	s.Encoded = data
	return s, nil
}

// Size returns the image's width and height in pixels, reading no more than the
// file's header.
func (s *Sample) Size() (width, height int, err error) {
	if s.Pixels != nil {
		return s.Pixels.Width, s.Pixels.Height, nil
	}
	info, err := codec.Stat(s.Encoded)
	if err != nil {
		return 0, 0, s.fail(err)
	}
	return info.Width, info.Height, nil
}

// Decode writes the whole image into dst, reusing dst's buffer. Errors are
// *SampleError.
func (s *Sample) Decode(dst *Image) error {
	if s.Pixels != nil {
		dst.CopyFrom(s.Pixels)
		return nil
	}
	return s.fail(codec.Decode(dst, s.Encoded))
}

// DecodeRegion writes to dst the part rect of the image, or a larger part, or a
// smaller version of it by a whole factor that keeps the part at least width x
// height pixels large. It returns where the part lies in dst. A crop that is
// resized to width x height afterwards thus costs no more than it must.
func (s *Sample) DecodeRegion(dst *Image, rect image.Rectangle, width, height int) (image.Rectangle, error) {
	if s.Pixels == nil {
		at, err := codec.DecodeRegion(dst, s.Encoded, rect, width, height)
		return at, s.fail(err)
	}
	if !rect.In(image.Rect(0, 0, s.Pixels.Width, s.Pixels.Height)) {
		return image.Rectangle{}, s.fail(fmt.Errorf("part %v is not inside the image of %dx%d", rect, s.Pixels.Width, s.Pixels.Height))
	}
	dst.CopyFrom(s.Pixels)
	return rect, nil
}

// fail names the sample in an error; nil stays nil.
func (s *Sample) fail(err error) error {
	if err == nil {
		return nil
	}
	return &SampleError{Index: s.Index, Name: s.Name, Err: err}
}

// SampleError says which sample could not be read, and why.
type SampleError struct {
	Index int
	Name  string
	Err   error
}

func (e *SampleError) Error() string {
	return fmt.Sprintf("data: sample %d (%s): %v", e.Index, e.Name, e.Err)
}

// Unwrap returns the cause.
func (e *SampleError) Unwrap() error { return e.Err }

// Labeled is implemented by datasets that know a sample's label without reading
// the sample; all datasets of this package do.
type Labeled interface {
	Label(i int) int
}

// checkIndex is the bounds check of every dataset.
func checkIndex(name string, i, n int) error {
	if i < 0 || i >= n {
		return &SampleError{Index: i, Name: name, Err: fmt.Errorf("index outside [0, %d)", n)}
	}
	return nil
}

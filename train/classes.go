package train

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gonatten/gonatten/data"
)

// relabelled is a dataset with the labels of a model.
type relabelled struct {
	data.Dataset
	classes []string
	label   []int // by the dataset's own
}

func (r *relabelled) Classes() []string { return r.classes }

// Sample implements data.Dataset.
func (r *relabelled) Sample(i int) (data.Sample, error) {
	sample, err := r.Dataset.Sample(i)
	if err == nil {
		sample.Label = r.label[sample.Label]
	}
	return sample, err
}

// Close closes the dataset underneath.
func (r *relabelled) Close() error { return data.Close(r.Dataset) }

// labelled gives a dataset the labels of a model by the names of the classes, in
// whatever order and however many of them it has. Where the names are not the
// model's (class folders of another spelling, a file without names), as many
// classes as the model's are taken to be the same in the same order.
func labelled(ds data.Dataset, classes []string, numClasses int64) (data.Dataset, error) {
	own := ds.Classes()
	if len(own) == 0 || slices.Equal(own, classes) {
		return ds, nil
	}
	label := map[string]int{}
	for i, name := range classes {
		label[data.ClassName(name)] = i
	}
	r := &relabelled{Dataset: ds, classes: classes}
	var unknown []string
	for _, name := range own {
		i, ok := label[data.ClassName(name)]
		if !ok {
			unknown = append(unknown, name)
		}
		r.label = append(r.label, i)
	}
	switch {
	case len(unknown) == 0:
		return r, nil
	case int64(len(own)) == numClasses:
		return ds, nil
	}
	return nil, fmt.Errorf("train: the data has %d classes and the model %d, and %d names of the data are none of the model's: %s",
		len(own), numClasses, len(unknown), strings.Join(unknown[:min(len(unknown), 5)], ", "))
}

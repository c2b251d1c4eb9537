package data

import "strings"

// Stats are the mean and standard deviation of a set's channels on the scale 0 to
// 1, with which images are normalised.
type Stats struct {
	Mean, Std []float32
}

// ImageNetStats are the figures that ImageNet models are trained with; they are
// also the default for images of unknown origin.
var ImageNetStats = Stats{Mean: []float32{0.485, 0.456, 0.406}, Std: []float32{0.229, 0.224, 0.225}}

var namedStats = map[string]Stats{
	"fashion-mnist": {Mean: []float32{0.2860}, Std: []float32{0.3530}},
	"mnist":         {Mean: []float32{0.1307}, Std: []float32{0.3081}},
	"cifar10":       {Mean: []float32{0.4914, 0.4822, 0.4465}, Std: []float32{0.2470, 0.2435, 0.2616}},
	"cifar100":      {Mean: []float32{0.5071, 0.4865, 0.4409}, Std: []float32{0.2673, 0.2564, 0.2762}},
}

// StatsOf returns the statistics of a specification as Open takes it, those of
// ImageNet for all but the named small sets. The length of Mean is the set's
// number of channels.
func StatsOf(spec string) Stats {
	name, _, _ := strings.Cut(spec, ":")
	if s, ok := namedStats[name]; ok {
		return s
	}
	return ImageNetStats
}

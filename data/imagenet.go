package data

import (
	_ "embed"
	"strings"
	"sync"
)

// imagenetClasses has a line per class of ImageNet-1K in the order of its
// labels: the WordNet identifier, which is the folder's name, and WordNet 3.0's
// first word for it (two where one would be ambiguous).
//
//go:embed imagenet_classes.txt
var imagenetClasses string

var imagenet = sync.OnceValue(func() (table struct {
	names      []string
	identifier map[string]string
}) {
	table.identifier = map[string]string{}
	for line := range strings.Lines(imagenetClasses) {
		identifier, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		table.names = append(table.names, name)
		table.identifier[identifier] = name
	}
	return table
})

// ImageNetClasses are the English names of ImageNet-1K's 1,000 classes in the
// order of its labels, "tench" first. The slice is shared: do not change it.
func ImageNetClasses() []string { return imagenet().names }

// ClassName is the English name of a class folder of ImageNet-1K ("n01440764":
// "tench"), and any other name itself.
func ClassName(folder string) string {
	if name, ok := imagenet().identifier[folder]; ok {
		return name
	}
	return folder
}

package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gonatten/gonatten/internal/near"
)

// Options of Open; the zero value is fine for all but "imagenet".
type Options struct {
	// Root is the folder with the files of a named set. Empty: the places where
	// system packages put them, then the cache folder. A specification
	// "NAME:FOLDER" sets it too.
	Root string
	// Cache overrides CacheDir.
	Cache string
	// Offline switches fetching off.
	Offline bool
	// HoldOut is the fraction of every class that an image folder or a list of
	// shards without a validation split of its own gives up for one; 0 makes
	// asking for such a split an error. See HoldOut.
	HoldOut float64
	// Seed is the seed of that choice.
	Seed uint64
	// Progress is told about long steps; nil is silent.
	Progress Progress
}

func (o Options) cacheDir() (string, error) {
	if o.Cache != "" {
		return o.Cache, nil
	}
	return CacheDir()
}

// opener is a named set.
type opener interface {
	open(ctx context.Context, split string, o Options) (*Memory, error)
}

var named = map[string]opener{
	"fashion-mnist": &fashionMNIST,
	"mnist":         &mnist,
	"cifar10":       &cifar10,
	"cifar100":      &cifar100,
}

// splitNames are the names under which a split is known, the best first.
var splitNames = map[string][]string{
	"train": {"train", "training"},
	"val":   {"val", "validation", "valid", "test", "testing"},
	"test":  {"test", "testing", "val", "validation", "valid"},
}

// Names are the names of the sets that Open knows, sorted.
func Names() []string {
	names := []string{"imagenet"}
	for n := range named {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// ErrNoSplit is wrapped by Open's error for an image folder or a list of shards
// without the wanted split.
var ErrNoSplit = errors.New("no split")

// Open finds a dataset by specification (see the package's documentation) and
// split: "train", "val" or "test". Where a set has only one of val and test, both
// names mean it. The split "" takes a folder or a list of shards as a whole, with
// no thought of splits. The context ends a fetch.
func Open(ctx context.Context, spec, split string, o Options) (Dataset, error) {
	if split != "" && splitNames[split] == nil {
		return nil, fmt.Errorf("data: Open: unknown split %q, want train, val or test", split)
	}
	name, root, found := strings.Cut(spec, ":")
	if found && (named[name] != nil || name == "imagenet") {
		spec, o.Root = name, root
	}
	if set := named[spec]; set != nil {
		if split == "val" {
			split = "test"
		}
		ds, err := set.open(ctx, split, o)
		if err != nil {
			return nil, err
		}
		return ds, nil
	}
	switch {
	case spec == "imagenet":
		return openImageNet(split, o)
	case strings.HasSuffix(spec, ".tar"):
		return openShards(spec, split, o)
	}
	st, err := os.Stat(spec)
	if err != nil || !st.IsDir() {
		return nil, fmt.Errorf("data: %q is neither a folder, nor a pattern ending in .tar, nor a known set (%s)%s",
			spec, strings.Join(Names(), ", "), near.Question(spec, Names()))
	}
	if tars, _ := filepath.Glob(filepath.Join(spec, "*.tar")); len(tars) > 0 {
		return openShards(filepath.Join(spec, "{split}*.tar"), split, o)
	}
	return openFolder(spec, split, o)
}

// adviceFor is what to do about a folder without a named set's files: get them, or
// leave out the set's name where the folder is a dataset of its own.
func adviceFor(dir, advice string) string {
	if HoldsPictures(dir) {
		return dir + " holds pictures of its own: to use them, name no dataset (dataset empty)"
	}
	return advice
}

// openFolder opens an image folder, with split folders or without.
func openFolder(dir, split string, o Options) (Dataset, error) {
	if split == "" {
		return NewFolder(dir, nil)
	}
	trainDir, own := splitDir(dir, "train"), splitDir(dir, split)
	if own != "" {
		if split == "train" {
			return NewFolder(own, nil)
		}
		// The classes are those of the training split: a class without validation
		// images must not shift the labels of the others.
		if trainDir != "" {
			classes, err := classFolders(trainDir)
			if err != nil {
				return nil, err
			}
			return NewFolder(own, classes)
		}
		return NewFolder(own, nil)
	}
	if trainDir != "" { // train/ alone: split it
		dir = trainDir
	} else if other := splitDir(dir, "val"); other != "" {
		return nil, fmt.Errorf("data: %s has %s but no train folder", dir, filepath.Base(other))
	}
	all, err := NewFolder(dir, nil)
	if err != nil {
		return nil, err
	}
	return holdOut(all, dir, split, o)
}

// holdOut gives the wanted part of a dataset that has no splits of its own.
func holdOut(all Dataset, what, split string, o Options) (Dataset, error) {
	if split == "" {
		return all, nil
	}
	if o.HoldOut == 0 {
		if split == "train" {
			return all, nil
		}
		return nil, fmt.Errorf("data: %s has %w %s: make a val folder (of shards val-*.tar, and give their folder, or FOLDER/{split}-*.tar), or take a fraction of the training images for it (hold_out 0.1)", what, ErrNoSplit, split)
	}
	train, val, err := HoldOut(all, o.HoldOut, o.Seed)
	if err != nil {
		return nil, err
	}
	if split == "train" {
		return train, nil
	}
	return val, nil
}

// splitDir returns the folder of a split below dir, or "".
func splitDir(dir, split string) string {
	for _, name := range splitNames[split] {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			return path
		}
	}
	return ""
}

// openImageNet opens ImageNet-1K in the usual layout: train/WNID/*.JPEG and
// val/WNID/*.JPEG. It cannot be fetched: its licence wants a registration.
func openImageNet(split string, o Options) (Dataset, error) {
	const classes = 1000
	dir := o.Root
	if dir == "" {
		cache, err := o.cacheDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(cache, "imagenet")
	}
	own := splitDir(dir, split)
	if own == "" {
		return nil, fmt.Errorf("data: imagenet: no folder %s: name the folder that has train/ and val/ (imagenet:FOLDER); it comes from https://image-net.org after registration",
			filepath.Join(dir, split))
	}
	ds, err := NewFolder(own, nil)
	if err != nil {
		return nil, err
	}
	if n := len(ds.Classes()); n != classes {
		return nil, fmt.Errorf("data: imagenet: %s has %d class folders, want %d (n01440764 and so on; the validation images must be sorted into such folders)", own, n, classes)
	}
	return ds, nil
}

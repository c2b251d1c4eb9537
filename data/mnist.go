package data

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// idxSet is a dataset of four idx files.
type idxSet struct {
	name    string // as Open knows it
	pkg     string // Debian package with the files, "" where there is none
	pkgDir  string // where that package puts them
	urls    []string
	classes []string
	files   map[string][2]idxFile // by split: images, labels
}

// Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; MIT licence).
// The hashes are of the unpacked files. The first address is the official
// repository, the second the bucket that its README names; neither has been tried
// from the machines that this code was written on, which reach package
// registries only.
var fashionMNIST = idxSet{
	name:   "fashion-mnist",
	pkg:    "dataset-fashion-mnist",
	pkgDir: "/usr/share/datasets/fashion-mnist",
	urls: []string{
		"https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
		"https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
	},
	classes: []string{
		"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
		"Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
	},
	files: mnistFiles(
		"c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
		"bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
		"5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
		"0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
	),
}

// MNIST (LeCun, Cortes and Burges). The hashes are those that public copies of
// the set agree on; the set could not be fetched where this code was written.
var mnist = idxSet{
	name:    "mnist",
	urls:    []string{"https://storage.googleapis.com/cvdf-datasets/mnist/"},
	classes: []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
	files: mnistFiles(
		"ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
		"65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
		"0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
		"ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
	),
}

// mnistFiles lists the four files of an MNIST-shaped set with their hashes.
func mnistFiles(trainImages, trainLabels, testImages, testLabels string) map[string][2]idxFile {
	return map[string][2]idxFile{
		"train": {
			{"train-images-idx3-ubyte", []int{60000, 28, 28}, trainImages},
			{"train-labels-idx1-ubyte", []int{60000}, trainLabels},
		},
		"test": {
			{"t10k-images-idx3-ubyte", []int{10000, 28, 28}, testImages},
			{"t10k-labels-idx1-ubyte", []int{10000}, testLabels},
		},
	}
}

// open finds (or fetches) and reads one split.
func (s *idxSet) open(ctx context.Context, split string, o Options) (*Memory, error) {
	files, ok := s.files[split]
	if !ok {
		return nil, fmt.Errorf("data: %s has the splits train and test, not %q", s.name, split)
	}
	dir, err := s.locate(ctx, o)
	if err != nil {
		return nil, err
	}
	var payload [2][]uint8
	for i, f := range files {
		path := f.find(dir)
		if path == "" {
			return nil, fmt.Errorf("data: %s: %s(.gz) is missing in %s: %s", s.name, f.name, dir, s.advice())
		}
		o.Progress.report("reading "+filepath.Base(path), 0, f.size())
		if payload[i], err = f.read(path); err != nil {
			return nil, err
		}
		o.Progress.report("reading "+filepath.Base(path), f.size(), f.size())
	}
	shape := files[0].shape
	return NewMemory(s.name+" "+split, payload[0], shape[2], shape[1], 1, payload[1], s.classes)
}

// locate returns the folder with the set's files: the given one, the system
// package's, or the cache, which is filled where it is empty.
func (s *idxSet) locate(ctx context.Context, o Options) (string, error) {
	if o.Root != "" {
		for _, dir := range []string{o.Root, filepath.Join(o.Root, s.name), filepath.Join(o.Root, "raw")} {
			if s.anyIn(dir) {
				return dir, nil
			}
		}
		return "", fmt.Errorf("data: %s: no file of the set (such as %s.gz) in %s: %s",
			s.name, s.files["train"][0].name, o.Root, adviceFor(o.Root, s.advice()))
	}
	if s.pkgDir != "" && s.allIn(s.pkgDir) {
		return s.pkgDir, nil
	}
	cache, err := o.cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, s.name)
	if s.allIn(dir) {
		return dir, nil
	}
	if o.Offline {
		return "", fmt.Errorf("data: %s is neither in %s nor in %s and fetching is switched off: %s", s.name, s.pkgDir, dir, s.advice())
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("data: %s: cannot make the cache folder: %w: set GONATTEN_CACHE to a writable folder", s.name, err)
	}
	return dir, s.fetch(ctx, dir, o)
}

// fetch fills dir from the system's package archive, else from the official site.
func (s *idxSet) fetch(ctx context.Context, dir string, o Options) error {
	var tried []string
	if s.pkg != "" {
		err := fetchDebian(ctx, s.pkg, s.pkgDir, dir, o)
		if err == nil && s.allIn(dir) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("the package lacks files of the set")
		}
		if ctx.Err() != nil {
			return fmt.Errorf("data: fetching %s: %w", s.name, context.Cause(ctx))
		}
		tried = append(tried, err.Error())
	}
	for _, base := range s.urls {
		err := s.fetchURL(ctx, base, dir, o)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("data: fetching %s: %w", s.name, context.Cause(ctx))
		}
		tried = append(tried, err.Error())
	}
	return fmt.Errorf("data: %s could not be fetched: %s: %s", s.name, strings.Join(tried, "; "), s.advice())
}

// fetchURL gets the files that dir lacks from one address.
func (s *idxSet) fetchURL(ctx context.Context, base, dir string, o Options) error {
	for _, split := range []string{"train", "test"} {
		for _, f := range s.files[split] {
			if f.find(dir) != "" {
				continue
			}
			if err := fetchURL(ctx, base+f.name+".gz", filepath.Join(dir, f.name+".gz"), o); err != nil {
				return err
			}
		}
	}
	return nil
}

// allIn tells whether dir has every file of the set, anyIn whether it has one.
func (s *idxSet) allIn(dir string) bool { return s.count(dir) == 4 }
func (s *idxSet) anyIn(dir string) bool { return s.count(dir) > 0 }

func (s *idxSet) count(dir string) int {
	n := 0
	for _, pair := range s.files {
		for _, f := range pair {
			if f.find(dir) != "" {
				n++
			}
		}
	}
	return n
}

// advice says how to get the set by hand.
func (s *idxSet) advice() string {
	site := "get the four .gz files from " + s.urls[0] + " and name their folder"
	if s.pkg == "" {
		return site
	}
	return "install it (apt-get install " + s.pkg + "), or " + site
}

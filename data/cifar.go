package data

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// cifarSet is CIFAR-10 or CIFAR-100 in the binary version (Krizhevsky 2009,
// https://www.cs.toronto.edu/~kriz/cifar.html): records of one or two label bytes
// and 3072 bytes of pixels, the planes of red, green and blue one after another.
type cifarSet struct {
	name    string
	folder  string // inside the archive
	files   map[string][]string
	records int // in each file of the split "train"; test files have 10,000
	labels  int // label bytes of a record, the last one is the class
	meta    string
	classes int
	url     string // of the .tar.gz; not tried from where this code was written
	sha256  string // of the .tar.gz, as published copies agree
}

const (
	cifarSide   = 32
	cifarPlane  = cifarSide * cifarSide
	cifarPixels = 3 * cifarPlane
)

var cifar10 = cifarSet{
	name: "cifar10", folder: "cifar-10-batches-bin",
	files: map[string][]string{
		"train": {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
		"test":  {"test_batch.bin"},
	},
	records: 10000, labels: 1, meta: "batches.meta.txt", classes: 10,
	url:    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
	sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
}

var cifar100 = cifarSet{
	name: "cifar100", folder: "cifar-100-binary",
	files:   map[string][]string{"train": {"train.bin"}, "test": {"test.bin"}},
	records: 50000, labels: 2, meta: "fine_label_names.txt", classes: 100,
	url:    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
	sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
}

// open finds (or fetches) and reads one split.
func (s *cifarSet) open(ctx context.Context, split string, o Options) (*Memory, error) {
	files, ok := s.files[split]
	if !ok {
		return nil, fmt.Errorf("data: %s has the splits train and test, not %q", s.name, split)
	}
	dir, err := s.locate(ctx, o)
	if err != nil {
		return nil, err
	}
	classes, err := s.readClasses(filepath.Join(dir, s.meta))
	if err != nil {
		return nil, err
	}
	records := s.records
	if split == "test" {
		records = 10000
	}
	pix := make([]uint8, 0, len(files)*records*cifarPixels)
	var labels []uint8
	for _, name := range files {
		o.Progress.report("reading "+name, int64(len(labels)), int64(len(files)*records))
		if pix, labels, err = s.readFile(filepath.Join(dir, name), records, pix, labels); err != nil {
			return nil, err
		}
	}
	o.Progress.report("reading "+s.name, int64(len(labels)), int64(len(labels)))
	return NewMemory(s.name+" "+split, pix, cifarSide, cifarSide, 3, labels, classes)
}

// readFile appends the records of one file.
func (s *cifarSet) readFile(path string, records int, pix, labels []uint8) ([]uint8, []uint8, error) {
	buf, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("data: %s: %w: %s", s.name, err, s.advice())
	}
	size := s.labels + cifarPixels
	if len(buf) != records*size {
		return nil, nil, fmt.Errorf("data: %s has %d bytes, want %d: delete it and run again to fetch it anew, or name a folder with intact files", path, len(buf), records*size)
	}
	for i := 0; i < records; i++ {
		rec := buf[i*size : (i+1)*size]
		label := rec[s.labels-1]
		if int(label) >= s.classes {
			return nil, nil, fmt.Errorf("data: %s: record %d has label %d, there are %d classes: the file is damaged", path, i, label, s.classes)
		}
		labels = append(labels, label)
		r, g, b := rec[s.labels:], rec[s.labels+cifarPlane:], rec[s.labels+2*cifarPlane:]
		for j := 0; j < cifarPlane; j++ {
			pix = append(pix, r[j], g[j], b[j])
		}
	}
	return pix, labels, nil
}

// readClasses reads the list of class names that comes with the set.
func (s *cifarSet) readClasses(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w: %s", s.name, err, s.advice())
	}
	defer f.Close()
	var classes []string
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		if line := strings.TrimSpace(scan.Text()); line != "" {
			classes = append(classes, line)
		}
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("data: %s: %w", path, err)
	}
	if len(classes) != s.classes {
		return nil, fmt.Errorf("data: %s names %d classes, want %d", path, len(classes), s.classes)
	}
	return classes, nil
}

// locate returns the folder with the files, filling the cache where needed.
func (s *cifarSet) locate(ctx context.Context, o Options) (string, error) {
	if o.Root != "" {
		for _, dir := range []string{o.Root, filepath.Join(o.Root, s.folder)} {
			if s.has(dir) {
				return dir, nil
			}
		}
		return "", fmt.Errorf("data: %s: %s is not in %s: %s", s.name, s.meta, o.Root, adviceFor(o.Root, s.advice()))
	}
	cache, err := o.cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, s.folder)
	if s.has(dir) {
		return dir, nil
	}
	if o.Offline {
		return "", fmt.Errorf("data: %s is not in %s and fetching is switched off: %s", s.name, dir, s.advice())
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("data: %s: cannot make the cache folder: %w: set GONATTEN_CACHE to a writable folder", s.name, err)
	}
	if err := s.fetch(ctx, dir, o); err != nil {
		return "", fmt.Errorf("data: %s could not be fetched: %w: %s", s.name, err, s.advice())
	}
	return dir, nil
}

// has tells whether dir holds the set; the list of classes is unpacked last.
func (s *cifarSet) has(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, s.meta))
	return err == nil
}

// fetch downloads the archive, checks it and unpacks it.
func (s *cifarSet) fetch(ctx context.Context, dir string, o Options) error {
	archive := filepath.Join(dir, filepath.Base(s.url))
	if err := fetchURL(ctx, s.url, archive, o); err != nil {
		return err
	}
	defer os.Remove(archive)
	return s.unpack(archive, dir, o)
}

// unpack checks the archive's hash and writes its files into dir.
func (s *cifarSet) unpack(archive, dir string, o Options) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != s.sha256 {
		return fmt.Errorf("%s has SHA-256 %s, want %s", filepath.Base(archive), got, s.sha256)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	var meta []byte
	tr := tar.NewReader(z)
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name := filepath.Base(hdr.Name)
		if hdr.Typeflag != tar.TypeReg {
			continue
		}
		if name == s.meta {
			if meta, err = io.ReadAll(io.LimitReader(tr, 1<<20)); err != nil {
				return err
			}
			continue
		}
		r := &progressReader{r: tr, what: "unpacking " + name, total: hdr.Size, progress: o.Progress}
		if err := writeFile(filepath.Join(dir, name), r); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(dir, s.meta), strings.NewReader(string(meta)))
}

func (s *cifarSet) advice() string {
	return "get " + s.url + ", unpack it and name the folder " + s.folder
}

package data

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Shards is a dataset of tar files in the WebDataset layout: consecutive files of
// one base name (up to the first dot) are one sample, an image (KEY.jpg, KEY.png,
// ...) and a label (KEY.cls with a decimal number, or KEY.json with a number
// under "label" or "cls"). Samples are read in place, in any order, through an
// index made when a shard is first seen and kept in the cache folder.
type Shards struct {
	paths   []string
	files   []*os.File
	samples []shardSample
	classes []string
}

// shardSample is where one image lies; its fields are exported for the index file.
type shardSample struct {
	Shard  int32
	Label  int32
	Offset int64
	Size   int64
	Key    string
}

// NewShards opens the given tar files in the given order. Class names come from a
// file classes.txt (a name per line) beside the first shard; without one they are
// the numbers from 0 to the largest label, or to the given minimum number of
// classes. Close frees the files.
func NewShards(paths []string, minClasses int, o Options) (*Shards, error) {
	if len(paths) == 0 {
		return nil, errors.New("data: no shards given")
	}
	s := &Shards{paths: slices.Clone(paths)}
	largest := int32(minClasses) - 1
	for i, path := range paths {
		o.Progress.report("indexing shards", int64(i), int64(len(paths)))
		samples, err := indexShard(path, o)
		if err != nil {
			s.Close()
			return nil, err
		}
		f, err := os.Open(path)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("data: %w", err)
		}
		s.files = append(s.files, f)
		for _, sample := range samples {
			sample.Shard = int32(i)
			largest = max(largest, sample.Label)
			s.samples = append(s.samples, sample)
		}
	}
	o.Progress.report("indexing shards", int64(len(paths)), int64(len(paths)))
	if len(s.samples) == 0 {
		s.Close()
		return nil, fmt.Errorf("data: %d shards from %s on hold no sample (KEY.jpg with KEY.cls)", len(paths), paths[0])
	}
	if err := s.nameClasses(filepath.Dir(paths[0]), int(largest)+1); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// nameClasses fills the list of at least n class names.
func (s *Shards) nameClasses(dir string, n int) error {
	f, err := os.Open(filepath.Join(dir, "classes.txt"))
	if errors.Is(err, os.ErrNotExist) {
		for i := 0; i < n; i++ {
			s.classes = append(s.classes, strconv.Itoa(i))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		if line := strings.TrimSpace(scan.Text()); line != "" {
			s.classes = append(s.classes, line)
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("data: %s: %w", f.Name(), err)
	}
	if len(s.classes) < n {
		return fmt.Errorf("data: %s names %d classes, the shards have labels up to %d", f.Name(), len(s.classes), n-1)
	}
	return nil
}

// Len is the number of samples.
func (s *Shards) Len() int { return len(s.samples) }

// Classes are the names of the classes.
func (s *Shards) Classes() []string { return s.classes }

// Label is the label of sample i.
func (s *Shards) Label(i int) int { return int(s.samples[i].Label) }

// Sample reads the bytes of sample i from its shard.
func (s *Shards) Sample(i int) (Sample, error) {
	if err := checkIndex("shards", i, s.Len()); err != nil {
		return Sample{}, err
	}
	at := s.samples[i]
	out := Sample{Index: i, Label: int(at.Label), Name: s.paths[at.Shard] + ":" + at.Key, Encoded: make([]byte, at.Size)}
	if n, err := s.files[at.Shard].ReadAt(out.Encoded, at.Offset); err != nil {
		if err == io.EOF {
			err = fmt.Errorf("the shard ends after %d of %d bytes", n, at.Size)
		}
		return Sample{}, out.fail(err)
	}
	return out, nil
}

// Close closes the files; reading samples fails from then on.
func (s *Shards) Close() error {
	var errs []error
	for _, f := range s.files {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// openShards opens the shards of a pattern. "{split}" in it stands for the name
// of the split. A pattern without it means all samples: they are the training
// split, and give up a part for a validation split only where that is asked for.
func openShards(pattern, split string, o Options) (Dataset, error) {
	hasSplit := strings.Contains(pattern, "{split}")
	if hasSplit && split == "" {
		return nil, fmt.Errorf("data: %s: name a split", pattern)
	}
	if hasSplit && split != "train" {
		own, err := findShards(pattern, split)
		if err != nil {
			return nil, err
		}
		if len(own) > 0 {
			return allShards(own, o)
		}
	}
	paths, err := findShards(pattern, "train")
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("data: no shard matches %s", pattern)
	}
	if hasSplit && o.HoldOut > 0 {
		own, err := findShards(pattern, "val")
		if err != nil {
			return nil, err
		}
		if len(own) > 0 { // a validation split exists: nothing is held out
			return allShards(paths, o)
		}
	}
	all, err := NewShards(paths, 0, o)
	if err != nil {
		return nil, err
	}
	ds, err := holdOut(all, pattern, split, o)
	if err != nil {
		return nil, errors.Join(err, all.Close())
	}
	return ds, nil
}

// allShards is NewShards whose failure is no dataset at all.
func allShards(paths []string, o Options) (Dataset, error) {
	s, err := NewShards(paths, 0, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// findShards expands a pattern for one split: brace ranges, then wildcards.
func findShards(pattern, split string) ([]string, error) {
	names := []string{""}
	if strings.Contains(pattern, "{split}") {
		names = splitNames[split]
	}
	for _, name := range names {
		var paths []string
		missing := ""
		expanded, err := expandBraces(strings.ReplaceAll(pattern, "{split}", name))
		if err != nil {
			return nil, err
		}
		for _, p := range expanded {
			matches, err := filepath.Glob(p)
			if err != nil {
				return nil, fmt.Errorf("data: pattern %s: %w", p, err)
			}
			if len(matches) == 0 && !strings.ContainsAny(p, "*?[") {
				missing = cmp.Or(missing, p)
			}
			paths = append(paths, matches...)
		}
		// Of a split none may be there, but not some.
		if missing != "" && (len(paths) > 0 || name == "") {
			return nil, fmt.Errorf("data: shard %s of %s is missing", missing, pattern)
		}
		if len(paths) > 0 {
			return paths, nil
		}
	}
	return nil, nil
}

// expandBraces replaces each "{000..127}" by its numbers, with leading zeros as
// wide as the first one.
func expandBraces(pattern string) ([]string, error) {
	open := strings.Index(pattern, "{")
	if open < 0 {
		return []string{pattern}, nil
	}
	length := strings.Index(pattern[open:], "}")
	if length < 0 {
		return nil, fmt.Errorf("data: pattern %s: { without }", pattern)
	}
	from, to, ok := strings.Cut(pattern[open+1:open+length], "..")
	lo, err1 := strconv.Atoi(from)
	hi, err2 := strconv.Atoi(to)
	if !ok || err1 != nil || err2 != nil || lo < 0 || hi < lo || hi-lo >= 1<<20 {
		return nil, fmt.Errorf("data: pattern %s: want {FIRST..LAST} between the braces", pattern)
	}
	tails, err := expandBraces(pattern[open+length+1:])
	if err != nil {
		return nil, err
	}
	var out []string
	for n := lo; n <= hi; n++ {
		for _, tail := range tails {
			out = append(out, fmt.Sprintf("%s%0*d%s", pattern[:open], len(from), n, tail))
		}
	}
	return out, nil
}

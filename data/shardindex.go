package data

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// shardIndex is the index file of one shard, valid as long as the shard's size
// and time of change stay the same.
type shardIndex struct {
	Version int
	Path    string
	Size    int64
	ModTime int64 // nanoseconds
	Samples []shardSample
}

const shardIndexVersion = 1

// maxLabelFile bounds a .cls or .json file, in bytes.
const maxLabelFile = 1 << 20

// indexShard returns the samples of a shard from its index in the cache, or by
// reading its headers, after which the index is kept for the next time. A cache
// that cannot be written costs time, not the run.
func indexShard(shard string, o Options) ([]shardSample, error) {
	f, err := os.Open(shard)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	abs, err := filepath.Abs(shard)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	want := shardIndex{Version: shardIndexVersion, Path: abs, Size: st.Size(), ModTime: st.ModTime().UnixNano()}
	indexPath := ""
	if cache, err := o.cacheDir(); err == nil {
		sum := sha256.Sum256([]byte(abs))
		indexPath = filepath.Join(cache, "shards", hex.EncodeToString(sum[:16])+".idx")
		if got, ok := readIndex(indexPath); ok && got.Version == want.Version && got.Path == want.Path && got.Size == want.Size && got.ModTime == want.ModTime {
			return got.Samples, nil
		}
	}
	if want.Samples, err = scanShard(f, st.Size()); err != nil {
		return nil, fmt.Errorf("data: shard %s: %w", shard, err)
	}
	if indexPath != "" {
		var buf bytes.Buffer
		if gob.NewEncoder(&buf).Encode(want) == nil && os.MkdirAll(filepath.Dir(indexPath), 0o755) == nil {
			_ = writeFile(indexPath, &buf) // the next run reads the headers again
		}
	}
	return want.Samples, nil
}

// readIndex reads an index file; a missing or damaged one counts as none.
func readIndex(path string) (shardIndex, bool) {
	var index shardIndex
	f, err := os.Open(path)
	if err != nil {
		return index, false
	}
	defer f.Close()
	return index, gob.NewDecoder(f).Decode(&index) == nil
}

// scanShard walks the headers of a tar file and pairs images with labels.
func scanShard(f *os.File, size int64) ([]shardSample, error) {
	var (
		samples  []shardSample
		current  shardSample
		hasImage bool
		hasLabel bool
	)
	flush := func() error {
		if hasImage && !hasLabel {
			return fmt.Errorf("sample %s has an image and no label (.cls, or .json with \"label\")", current.Key)
		}
		if hasImage {
			samples = append(samples, current)
		}
		current, hasImage, hasLabel = shardSample{}, false, false
		return nil
	}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return samples, flush()
		}
		if err != nil {
			return nil, fmt.Errorf("after %d samples: %w", len(samples), err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		key, ext := splitKey(h.Name)
		if key != current.Key {
			if err := flush(); err != nil {
				return nil, err
			}
			current.Key = key
		}
		switch {
		case IsPicture(ext):
			// archive/tar reads headers unbuffered: the file stands at the content.
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			if at+h.Size > size {
				return nil, fmt.Errorf("ends inside %s: %d of %d bytes are there", h.Name, max(0, size-at), h.Size)
			}
			current.Offset, current.Size, hasImage = at, h.Size, true
		case ext == ".cls" || ext == ".json":
			text, err := io.ReadAll(io.LimitReader(tr, maxLabelFile))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", h.Name, err)
			}
			label, ok, err := parseLabel(ext, text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", h.Name, err)
			}
			if ok {
				current.Label, hasLabel = label, true
			}
		}
	}
}

// splitKey splits a name at the first dot of its last element.
func splitKey(name string) (key, ext string) {
	dir, base := path.Split(name)
	if i := strings.IndexByte(base, '.'); i >= 0 {
		return dir + base[:i], strings.ToLower(base[i:])
	}
	return name, ""
}

// parseLabel reads the label from a .cls or .json file; ok is false where a .json
// file has none, which is no error: it may hold other things beside a .cls file.
func parseLabel(ext string, text []byte) (label int32, ok bool, err error) {
	if ext == ".cls" {
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 31)
		if err != nil {
			return 0, false, fmt.Errorf("label %.20q is not a whole number", text)
		}
		return int32(n), true, nil
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return 0, false, err
	}
	for _, name := range []string{"label", "cls"} {
		if v, there := fields[name]; there {
			n, isNumber := v.(float64)
			if !isNumber || n < 0 || n != math.Trunc(n) || n > math.MaxInt32 {
				return 0, false, fmt.Errorf("label %v is not a whole number", v)
			}
			return int32(n), true, nil
		}
	}
	return 0, false, nil
}

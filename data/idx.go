package data

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// idxFile is one file of a dataset in the idx format of the MNIST database: a
// big-endian magic number 0x0000 08 RANK, RANK big-endian lengths, then bytes in
// row-major order (http://yann.lecun.com/exdb/mnist).
type idxFile struct {
	name   string // without ".gz"
	shape  []int
	sha256 string // of the unpacked file
}

// size is the length of the unpacked file in bytes.
func (f idxFile) size() int64 {
	n := int64(1)
	for _, d := range f.shape {
		n *= int64(d)
	}
	return 4 + 4*int64(len(f.shape)) + n
}

// find returns the path of the file in dir, unpacked or with ".gz", or "".
func (f idxFile) find(dir string) string {
	for _, name := range []string{f.name, f.name + ".gz"} {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// read returns the payload of the file at path after checking length, hash,
// magic number and shape.
func (f idxFile) read(path string) ([]uint8, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var r io.Reader = file
	if filepath.Ext(path) == ".gz" {
		z, err := gzip.NewReader(file)
		if err != nil {
			return nil, f.broken(path, fmt.Sprintf("is not a gzip file (%v)", err))
		}
		defer z.Close()
		r = z
	}
	buf := make([]byte, f.size())
	n, err := io.ReadFull(r, buf)
	if err != nil {
		return nil, f.broken(path, fmt.Sprintf("ends after %d of %d bytes (%v)", n, len(buf), err))
	}
	switch extra, err := r.Read(make([]byte, 1)); {
	case extra != 0:
		return nil, f.broken(path, fmt.Sprintf("is longer than %d bytes", len(buf)))
	case err != nil && err != io.EOF:
		return nil, f.broken(path, fmt.Sprintf("cannot be unpacked (%v)", err))
	}
	sum := sha256.Sum256(buf)
	if got := hex.EncodeToString(sum[:]); f.sha256 != "" && got != f.sha256 {
		return nil, f.broken(path, fmt.Sprintf("has SHA-256 %s, want %s", got, f.sha256))
	}
	if magic := binary.BigEndian.Uint32(buf); magic != 0x0800|uint32(len(f.shape)) {
		return nil, f.broken(path, fmt.Sprintf("has magic number %#08x, want %#08x", magic, 0x0800|len(f.shape)))
	}
	for i, want := range f.shape {
		if got := binary.BigEndian.Uint32(buf[4+4*i:]); int(got) != want {
			return nil, f.broken(path, fmt.Sprintf("has length %d on axis %d, want %d", got, i, want))
		}
	}
	return buf[4+4*len(f.shape):], nil
}

// broken says what is wrong with a file and what to do about it, in one line.
func (f idxFile) broken(path, what string) error {
	return fmt.Errorf("data: %s %s: delete it and run again to fetch it anew, or name a folder with intact files", path, what)
}

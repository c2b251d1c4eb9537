// Package mmap maps files read-only, so that reading a checkpoint of many gigabytes takes page cache and no heap.
package mmap

import (
	"fmt"
	"math"
	"os"
	"sync"
)

// Mapping is a read-only view of a whole file.
type Mapping struct {
	data  []byte
	once  sync.Once
	unmap func([]byte) error
}

// Open maps the file at path. Only regular files are accepted: a pipe or a device has no size to check headers
// against.
func Open(path string) (*Mapping, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the mapping outlives the descriptor
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file", path)
	}
	size := info.Size()
	if size > math.MaxInt {
		return nil, fmt.Errorf("open %s: %d bytes do not fit this machine's address space", path, size)
	}
	if size == 0 {
		return &Mapping{}, nil // mmap(2) refuses length 0
	}
	data, unmap, err := mapFile(f, int(size))
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &Mapping{data: data, unmap: unmap}, nil
}

// Bytes returns the file's content. It must not be written to, nor used after Close.
func (m *Mapping) Bytes() []byte { return m.data }

// Close releases the mapping. Later calls do nothing.
func (m *Mapping) Close() (err error) {
	m.once.Do(func() {
		data := m.data
		m.data = nil
		if m.unmap != nil {
			err = m.unmap(data)
		}
	})
	return err
}

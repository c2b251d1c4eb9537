package checkpoint

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/gonatten/gonatten/internal/atomicfile"
)

// SaveSafetensors writes the tensors to path as a .safetensors file, whole or not at all: a crash or a full disk leaves
// what was at path before. metadata may be nil. See [WriteSafetensors].
func SaveSafetensors(path string, tensors *StateDict, metadata map[string]string) error {
	err := atomicfile.Write(path, func(w io.Writer) error { return WriteSafetensors(w, tensors, metadata) })
	if err != nil {
		return fmt.Errorf("checkpoint: save safetensors: %w", err)
	}
	return nil
}

// WriteSafetensors writes a .safetensors file to w, one tensor after another. The header lists the tensors in the
// state dict's order; the data holds the widest element types first, so that every tensor is aligned to its elements.
// A checksum is added to the metadata under "gonatten.checksum", which [OpenSafetensors] checks and takes out again.
func WriteSafetensors(w io.Writer, tensors *StateDict, metadata map[string]string) error {
	entries, order, err := layOut(tensors)
	if err != nil {
		return err
	}
	metadata = maps.Clone(metadata)
	if metadata == nil {
		metadata = make(map[string]string)
	}
	delete(metadata, checksumKey)
	for k, v := range metadata {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("checkpoint: write safetensors: metadata %s is not UTF-8", quoteShort(k))
		}
	}
	var sums chunkSums
	for _, i := range order {
		t, _ := tensors.Get(entries[i].name)
		sums.add(t.Bytes())
	}
	metadata[checksumKey] = formatChecksum(describeChecksum(entries, metadata), sums.finish())
	header, err := formatHeader(entries, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, i := range order {
		t, _ := tensors.Get(entries[i].name)
		if _, err := w.Write(t.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// layOut gives every tensor its place in the data section; order lists the entries as they follow there.
func layOut(tensors *StateDict) (entries []headerEntry, order []int, err error) {
	entries = make([]headerEntry, 0, tensors.Len())
	for name, t := range tensors.All() {
		switch {
		case name == metadataKey:
			return nil, nil, fmt.Errorf("checkpoint: write safetensors: a tensor cannot be called %s", metadataKey)
		case !utf8.ValidString(name):
			return nil, nil, fmt.Errorf("checkpoint: write safetensors: tensor name %s is not UTF-8", quoteShort(name))
		case t.dtype == C128:
			return nil, nil, fmt.Errorf("checkpoint: write safetensors: tensor %s: the format has no element type C128", quoteShort(name))
		case len(entries) == maxTensors:
			return nil, nil, fmt.Errorf("checkpoint: write safetensors: more than %d tensors", maxTensors)
		}
		order = append(order, len(entries))
		entries = append(entries, headerEntry{name: name, dtype: t.dtype, shape: t.shape})
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(entries[b].dtype.Size(), entries[a].dtype.Size())
	})
	at := int64(0)
	for _, i := range order {
		e := &entries[i]
		n, err := byteCount(e.dtype, e.shape)
		if err != nil {
			return nil, nil, fmt.Errorf("checkpoint: write safetensors: tensor %s: %w", quoteShort(e.name), err)
		}
		e.begin, e.end = at, at+n
		at = e.end
	}
	return entries, order, nil
}

// formatHeader returns the 8-byte length and the JSON, padded with spaces so that the data starts on a multiple of 8.
func formatHeader(entries []headerEntry, metadata map[string]string) ([]byte, error) {
	type description struct {
		DType   string   `json:"dtype"`
		Shape   []int64  `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	meta, err := json.Marshal(metadata)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: write safetensors: %w", err)
	}
	out := append(make([]byte, 8), `{"`+metadataKey+`":`...)
	out = append(out, meta...)
	for _, e := range entries {
		name, err := json.Marshal(e.name)
		if err != nil {
			return nil, fmt.Errorf("checkpoint: write safetensors: %w", err)
		}
		shape := e.shape
		if shape == nil {
			shape = []int64{}
		}
		body, err := json.Marshal(description{e.dtype.String(), shape, [2]int64{e.begin, e.end}})
		if err != nil {
			return nil, fmt.Errorf("checkpoint: write safetensors: %w", err)
		}
		out = append(append(append(append(out, ','), name...), ':'), body...)
	}
	out = append(out, '}')
	for len(out)%8 != 0 {
		out = append(out, ' ')
	}
	if len(out)-8 > maxHeaderSize {
		return nil, fmt.Errorf("checkpoint: write safetensors: header of %d bytes exceeds the format's limit of %d",
			len(out)-8, maxHeaderSize)
	}
	binary.LittleEndian.PutUint64(out, uint64(len(out)-8))
	return out, nil
}

// chunkSums computes the checksums of equal chunks of a stream.
type chunkSums struct {
	sums []uint32
	sum  uint32
	fill int
}

func (c *chunkSums) add(b []byte) {
	for len(b) > 0 {
		n := min(len(b), checksumChunk-c.fill)
		c.sum = crc32.Update(c.sum, castagnoli, b[:n])
		c.fill += n
		b = b[n:]
		if c.fill == checksumChunk {
			c.sums = append(c.sums, c.sum)
			c.sum, c.fill = 0, 0
		}
	}
}

func (c *chunkSums) finish() []uint32 {
	if c.fill > 0 {
		c.sums = append(c.sums, c.sum)
		c.sum, c.fill = 0, 0
	}
	return c.sums
}

package checkpoint

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// OpenSafetensors maps the .safetensors file at path and checks its header against the file: the header's size, every
// element type and shape, that each tensor's bytes lie inside the file, that none overlap or leave holes, and that no
// name appears twice. The file's own checksum is checked where there is one, see [WriteSafetensors]. Nothing is copied.
// Names and layout stay as they are; see [Open] for the rest.
//
// Format: https://huggingface.co/docs/safetensors, "Format".
func OpenSafetensors(path string) (*Checkpoint, error) {
	c := &Checkpoint{Path: path, Format: FormatSafetensors, Layout: LayoutOfficial}
	data, err := c.mapInto(path)
	if err != nil {
		return nil, err
	}
	if err := c.readSafetensors(data, checkNow); err != nil {
		c.Close()
		return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return c, nil
}

// ParseSafetensors reads a safetensors file from memory, with the checks of [OpenSafetensors]. The tensors refer to
// data.
func ParseSafetensors(data []byte) (*Checkpoint, error) {
	c := &Checkpoint{Format: FormatSafetensors, Layout: LayoutOfficial}
	if err := c.readSafetensors(data, checkNow); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return c, nil
}

// When a file's checksum is compared.
const (
	checkNow   = iota
	checkLater // the header's now, the data's by Read
	checkNever
)

func (c *Checkpoint) readSafetensors(file []byte, when int) error {
	header, data, err := splitSafetensors(file)
	if err != nil {
		return err
	}
	entries, metadata, err := parseHeader(header)
	if err != nil {
		return err
	}
	if err := checkLayout(entries, int64(len(data))); err != nil {
		return err
	}
	if sum, ok := metadata[checksumKey]; ok {
		delete(metadata, checksumKey)
		if when != checkNever {
			late, err := checkHeader(sum, entries, metadata, data)
			if err == nil && late != nil && when == checkNow {
				err, late = late.check(nil), nil
			}
			if err != nil {
				return err
			}
			if late != nil {
				late.path = c.Path
				c.late = append(c.late, late)
			}
		}
	}
	c.Metadata = metadata
	c.Tensors = &StateDict{
		names:   make([]string, 0, len(entries)),
		tensors: make(map[string]*Tensor, len(entries)),
	}
	for _, e := range entries {
		c.Tensors.Set(e.name, &Tensor{
			dtype: e.dtype, shape: e.shape, data: data[e.begin:e.end:e.end], owner: c,
		})
	}
	return nil
}

// splitSafetensors separates a file into its JSON header and the tensors' bytes.
func splitSafetensors(file []byte) (header, data []byte, err error) {
	if len(file) < 8 {
		return nil, nil, fmt.Errorf("%d bytes are too few for a safetensors file", len(file))
	}
	n := binary.LittleEndian.Uint64(file)
	switch {
	case n > maxHeaderSize:
		return nil, nil, fmt.Errorf("header size %d exceeds the format's limit of %d bytes", n, maxHeaderSize)
	case n > uint64(len(file)-8):
		return nil, nil, fmt.Errorf("header size %d exceeds the file's %d bytes: truncated?", n, len(file))
	}
	return file[8 : 8+n], file[8+n:], nil
}

// checkLayout checks that the tensors' bytes cover the data section exactly once.
func checkLayout(entries []headerEntry, size int64) error {
	order := make([]*headerEntry, len(entries))
	for i := range entries {
		e := &entries[i]
		n, err := byteCount(e.dtype, e.shape)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", quoteShort(e.name), err)
		}
		if e.begin > e.end || e.end > size {
			return fmt.Errorf("tensor %s: bytes %d to %d do not lie in the %d bytes of data: truncated?",
				quoteShort(e.name), e.begin, e.end, size)
		}
		if e.end-e.begin != n {
			return fmt.Errorf("tensor %s: shape %s of %s takes %d bytes, data_offsets give it %d",
				quoteShort(e.name), ShapeString(e.shape), e.dtype, n, e.end-e.begin)
		}
		order[i] = e
	}
	slices.SortFunc(order, func(a, b *headerEntry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	at := int64(0)
	for _, e := range order {
		if e.begin != at {
			return fmt.Errorf("tensor %s: starts at byte %d of the data where %d is due: tensors overlap or leave a hole",
				quoteShort(e.name), e.begin, at)
		}
		at = e.end
	}
	if at != size {
		return fmt.Errorf("tensors end at byte %d of %d bytes of data", at, size)
	}
	return nil
}

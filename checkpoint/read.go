package checkpoint

import (
	"cmp"
	"fmt"
	"slices"
	"unsafe"
)

// Destination is memory that takes the bytes of a tensor.
type Destination struct {
	Tensor *Tensor
	Memory []byte // of the tensor's size
}

// Read copies tensors of c into memory, on all processors, and compares what [Options].LateChecksum has left with the
// checksum, all of it, in the same pass. It fails on memory of another size before it writes anything, and with an
// error that wraps [ErrChecksum] where the file is damaged: then what was written is worthless. Read(nil) only compares.
func (c *Checkpoint) Read(into []Destination) error {
	for _, d := range into {
		if int64(len(d.Memory)) != d.Tensor.NumBytes() {
			return fmt.Errorf("checkpoint: Read: %s takes %d bytes, its memory has %d", d.Tensor, d.Tensor.NumBytes(), len(d.Memory))
		}
	}
	rest := into
	for _, s := range c.late {
		var pieces []piece
		pieces, rest = s.pieces(rest)
		if err := s.check(func(begin, end int) { copyBlock(pieces, s.data, begin, end) }); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	c.late = nil
	return parallel(len(rest), func(i int) error {
		copy(rest[i].Memory, rest[i].Tensor.Bytes())
		return nil
	})
}

// piece is a part of a section that goes into memory.
type piece struct {
	begin, end int
	memory     []byte
	reach      int // the furthest end of this one and those before
}

// pieces splits destinations into those that lie in the section, by where they begin, and the others.
func (s *section) pieces(into []Destination) (pieces []piece, rest []Destination) {
	for _, d := range into {
		if begin, ok := s.find(d.Tensor); ok {
			pieces = append(pieces, piece{begin: begin, end: begin + len(d.Memory), memory: d.Memory})
		} else {
			rest = append(rest, d)
		}
	}
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.begin, b.begin) })
	reach := 0
	for i := range pieces {
		reach = max(reach, pieces[i].end)
		pieces[i].reach = reach
	}
	return pieces, rest
}

// find is where a tensor's bytes begin in the section.
func (s *section) find(t *Tensor) (begin int, ok bool) {
	if t.gather != nil || len(t.data) == 0 || len(s.data) == 0 {
		return 0, false
	}
	// Both point into one mapping, or the difference is out of range.
	start, at := uintptr(unsafe.Pointer(&s.data[0])), uintptr(unsafe.Pointer(&t.data[0]))
	if at < start || at-start+uintptr(len(t.data)) > uintptr(len(s.data)) {
		return 0, false
	}
	return int(at - start), true
}

// copyBlock copies bytes begin to end of the data to where they belong. Pieces are ordered by their beginnings and may
// overlap: two names of one tensor.
func copyBlock(pieces []piece, data []byte, begin, end int) {
	past, _ := slices.BinarySearchFunc(pieces, end, func(p piece, at int) int { return cmp.Compare(p.begin, at) })
	for i := past - 1; i >= 0 && pieces[i].reach > begin; i-- {
		p := &pieces[i]
		if from, to := max(p.begin, begin), min(p.end, end); from < to {
			copy(p.memory[from-p.begin:], data[from:to])
		}
	}
}

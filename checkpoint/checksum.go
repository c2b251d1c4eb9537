package checkpoint

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Safetensors has no checksum of its own: a flipped bit in the weights would load as a wrong number. Files written here
// carry one in their metadata, which other readers ignore: CRC-32C (Castagnoli, in hardware on amd64 and arm64) of the
// description of the tensors, and of each chunk of the data so that all processors can check at once.
const (
	checksumKey    = "gonatten.checksum"
	checksumPrefix = "crc32c-16MiB:"
	checksumChunk  = 16 << 20
)

// ErrChecksum is wrapped by errors about a file whose content does not match its checksum.
var ErrChecksum = errors.New("checksum does not match: the file is damaged, or was edited after it was written")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// describeChecksum covers all that a header says besides where the bytes lie, which follows from the rest.
func describeChecksum(entries []headerEntry, metadata map[string]string) uint32 {
	h := crc32.New(castagnoli)
	for _, e := range entries {
		fmt.Fprintf(h, "%q %s %v\n", e.name, e.dtype, e.shape)
	}
	for _, k := range slices.Sorted(maps.Keys(metadata)) {
		fmt.Fprintf(h, "%q=%q\n", k, metadata[k])
	}
	return h.Sum32()
}

// formatChecksum joins the description's sum and the chunks' sums to the metadata value.
func formatChecksum(description uint32, chunks []uint32) string {
	var b strings.Builder
	b.WriteString(checksumPrefix)
	for _, c := range append([]uint32{description}, chunks...) {
		fmt.Fprintf(&b, "%08x", c)
	}
	return b.String()
}

// section is the data of a file whose chunks have sums that were not compared yet.
type section struct {
	path string // of the file, "" in memory
	data []byte
	sums []uint32 // of each chunk
}

// checkHeader compares the metadata value sum with what the header says, and returns the sums of the data's chunks for
// later. Values of another form are from a later version and are not judged: then the result is nil.
func checkHeader(sum string, entries []headerEntry, metadata map[string]string, data []byte) (*section, error) {
	digits, ok := strings.CutPrefix(sum, checksumPrefix)
	if !ok {
		return nil, nil
	}
	chunks := (len(data) + checksumChunk - 1) / checksumChunk
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != 4*(1+chunks) {
		return nil, fmt.Errorf("metadata %s: %w", checksumKey, ErrChecksum)
	}
	if describeChecksum(entries, metadata) != binary.BigEndian.Uint32(raw) {
		return nil, fmt.Errorf("header: %w", ErrChecksum)
	}
	s := &section{data: data, sums: make([]uint32, chunks)}
	for i := range s.sums {
		s.sums[i] = binary.BigEndian.Uint32(raw[4+4*i:])
	}
	return s, nil
}

// check compares the chunks with their sums and calls visit, where it is not nil, with every block of data right after
// the block went into its sum, when the processor has it at hand. Blocks of different chunks come at once.
func (s *section) check(visit func(begin, end int)) error {
	const block = 128 << 10
	err := parallel(len(s.sums), func(i int) error {
		begin := i * checksumChunk
		end := min(begin+checksumChunk, len(s.data))
		sum := uint32(0)
		for at := begin; at < end; at += block {
			next := min(at+block, end)
			sum = crc32.Update(sum, castagnoli, s.data[at:next])
			if visit != nil {
				visit(at, next)
			}
		}
		if sum != s.sums[i] {
			return fmt.Errorf("data bytes %d to %d: %w", begin, end, ErrChecksum)
		}
		return nil
	})
	if err != nil && s.path != "" {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	return err
}

// parallel calls f(0) to f(n-1) on all processors and returns the error of the lowest failing index it met.
func parallel(n int, f func(i int) error) error {
	workers := min(n, runtime.GOMAXPROCS(0))
	errs := make([]error, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if errs[i] = f(i); errs[i] != nil {
					next.Store(int64(n)) // no use in reading on
				}
			}
		}()
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

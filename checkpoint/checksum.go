package checkpoint

import (
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

// verifyChecksum compares the metadata value sum with the content. Values of another form are from a later version and
// are not judged.
func verifyChecksum(sum string, entries []headerEntry, metadata map[string]string, data []byte) error {
	digits, ok := strings.CutPrefix(sum, checksumPrefix)
	if !ok {
		return nil
	}
	chunks := (len(data) + checksumChunk - 1) / checksumChunk
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != 4*(1+chunks) {
		return fmt.Errorf("metadata %s: %w", checksumKey, ErrChecksum)
	}
	want := func(i int) uint32 {
		return uint32(raw[4*i])<<24 | uint32(raw[4*i+1])<<16 | uint32(raw[4*i+2])<<8 | uint32(raw[4*i+3])
	}
	if describeChecksum(entries, metadata) != want(0) {
		return fmt.Errorf("header: %w", ErrChecksum)
	}
	return parallel(chunks, func(i int) error {
		begin := i * checksumChunk
		end := min(begin+checksumChunk, len(data))
		if crc32.Checksum(data[begin:end], castagnoli) != want(1+i) {
			return fmt.Errorf("data bytes %d to %d: %w", begin, end, ErrChecksum)
		}
		return nil
	})
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

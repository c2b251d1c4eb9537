package checkpoint

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func addFiles(f *testing.F, patterns ...string) {
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
}

// FuzzSafetensors checks that whatever is accepted can be written and read again as the same tensors.
func FuzzSafetensors(f *testing.F) {
	addFiles(f, "testdata/pth/*.safetensors", "testdata/gotch/*.safetensors")
	f.Add(rawSafetensors(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"k":"v"}}`, make([]byte, 4)))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseSafetensors(data)
		if err != nil {
			return
		}
		var buf bytes.Buffer
		if err := WriteSafetensors(&buf, c.Tensors, c.Metadata); err != nil {
			t.Fatal(err)
		}
		again, err := ParseSafetensors(buf.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if !c.Tensors.Equal(again.Tensors) || len(c.Metadata) != len(again.Metadata) {
			t.Fatal("the file changed on its way")
		}
	})
}

// FuzzTorch checks that whatever a file holds, every tensor handed out has the bytes that its shape takes.
func FuzzTorch(f *testing.F) {
	addFiles(f, "testdata/pth/*.pth", "testdata/gotch/*.gt")
	f.Add(torchArchive(tensorPickle(4), make([]byte, 16)))
	f.Add(torchArchive([]byte("\x80\x02cos\nsystem\n)R."), nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Checkpoint{}
		// Checksums would hide everything behind them from the fuzzer.
		if err := c.readWeights(data, &Options{SkipChecksum: true}); err != nil {
			return
		}
		for name, tensor := range c.Tensors.All() {
			if int64(len(tensor.Bytes())) != tensor.NumBytes() {
				t.Fatalf("%s has %d bytes, shape %s takes %d", name, len(tensor.Bytes()), tensor, tensor.NumBytes())
			}
		}
	})
}

package checkpoint

import (
	"archive/zip"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/gonatten/gonatten/checkpoint/pickle"
	"github.com/gonatten/gonatten/internal/atomicfile"
)

const (
	// torchAlignment is the alignment of storages in torch.save files, so that they can be used from a memory map.
	torchAlignment = 64
	// torchFormatVersion is what the archive's "version" entry says; PyTorch 1.6 and newer read it.
	torchFormatVersion = "3\n"
	torchRoot          = "archive/"
)

// SaveTorch writes the tensors to path as torch.save does, whole or not at all. See [WriteTorch].
func SaveTorch(path string, tensors *StateDict) error {
	err := atomicfile.Write(path, func(w io.Writer) error { return WriteTorch(w, tensors) })
	if err != nil {
		return fmt.Errorf("checkpoint: save torch: %w", err)
	}
	return nil
}

// WriteTorch writes the tensors to w as an OrderedDict in the zip form of torch.save, which
// torch.load(weights_only=True) reads: stored entries, each storage aligned to 64 bytes.
func WriteTorch(w io.Writer, tensors *StateDict) error {
	program, err := torchPickle(tensors)
	if err != nil {
		return fmt.Errorf("checkpoint: write torch: %w", err)
	}
	out := newTorchZip(w)
	for _, e := range []struct{ name, content string }{
		{"data.pkl", string(program)}, {"byteorder", "little"}, {".format_version", "1"}, {".storage_alignment", "64"},
	} {
		if err := out.add(torchRoot+e.name, []byte(e.content)); err != nil {
			return err
		}
	}
	i := 0
	for _, t := range tensors.All() {
		if err := out.add(torchRoot+"data/"+strconv.Itoa(i), t.Bytes()); err != nil {
			return err
		}
		i++
	}
	if err := out.add(torchRoot+"version", []byte(torchFormatVersion)); err != nil {
		return err
	}
	return out.zip.Close()
}

// torchPickle writes data.pkl: an OrderedDict of calls that rebuild tensors from storages numbered in order.
func torchPickle(tensors *StateDict) ([]byte, error) {
	orderedDict := pickle.Global{Module: "collections", Name: "OrderedDict"}
	var e pickle.Encoder
	e.Start()
	e.Global(orderedDict)
	e.EmptyTuple()
	e.Reduce()
	e.Mark()
	i := 0
	for name, t := range tensors.All() {
		if !utf8.ValidString(name) {
			return nil, fmt.Errorf("tensor name %s is not UTF-8", quoteShort(name))
		}
		if err := e.String(name); err != nil {
			return nil, err
		}
		if err := torchTensorPickle(&e, strconv.Itoa(i), t, orderedDict); err != nil {
			return nil, err
		}
		i++
	}
	e.SetItems()
	return e.Bytes(), nil
}

// torchTensorPickle writes _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()), or _rebuild_tensor_v3
// with the element type behind it where torch has no storage class for that type.
func torchTensorPickle(e *pickle.Encoder, key string, t *Tensor, orderedDict pickle.Global) error {
	typed := dtypeTable[t.dtype].legacy != ""
	rebuild := pickle.Global{Module: "torch._utils", Name: "_rebuild_tensor_v2"}
	class := pickle.Global{Module: "torch", Name: dtypeTable[t.dtype].legacy}
	numel := t.Numel()
	if !typed {
		rebuild.Name = "_rebuild_tensor_v3"
		class = pickle.Global{Module: "torch.storage", Name: "UntypedStorage"}
		numel = t.NumBytes()
	}
	e.Global(rebuild)
	e.Mark()
	e.Mark()
	if err := e.String("storage"); err != nil {
		return err
	}
	e.Global(class)
	for _, s := range []string{key, "cpu"} {
		if err := e.String(s); err != nil {
			return err
		}
	}
	e.Int(numel)
	e.Tuple()
	e.Persistent()
	e.Int(0)
	e.Ints(t.shape)
	e.Ints(contiguousStrides(t.shape))
	e.Bool(false)
	e.Global(orderedDict)
	e.EmptyTuple()
	e.Reduce()
	if !typed {
		e.Global(pickle.Global{Module: "torch", Name: t.dtype.Torch()})
	}
	e.Tuple()
	e.Reduce()
	return nil
}

// torchZip writes stored zip entries whose content starts on multiples of torchAlignment.
type torchZip struct {
	out *countingWriter
	zip *zip.Writer
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func newTorchZip(w io.Writer) *torchZip {
	out := &countingWriter{w: w}
	return &torchZip{out: out, zip: zip.NewWriter(out)}
}

func (z *torchZip) add(name string, content []byte) error {
	if err := z.zip.Flush(); err != nil { // so that out.n is where the local header will start
		return err
	}
	// An extra field called "FB", as PyTorch's own, fills up to the alignment.
	const fieldHeader = 4
	start := z.out.n + zipLocalLen + int64(len(name)) + fieldHeader
	pad := (torchAlignment - start%torchAlignment) % torchAlignment
	extra := append([]byte{'F', 'B', byte(pad), 0}, make([]byte, pad)...)
	w, err := z.zip.CreateRaw(&zip.FileHeader{
		Name: name, Method: zip.Store, Extra: extra, CRC32: crc32.ChecksumIEEE(content),
		CompressedSize64: uint64(len(content)), UncompressedSize64: uint64(len(content)),
	})
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}

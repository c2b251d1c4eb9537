package checkpoint

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gonatten/gonatten/checkpoint/pickle"
)

const (
	// slack is what a file may ask for beyond multiples of its own size, for expanded tensors and inflated entries.
	slack = 64 << 20
	// maxAmplification bounds all tensors together against the file's size: views share storages, but a file whose
	// tensors are many times the file exists only to exhaust whoever copies them.
	maxAmplification = 8
)

// storage is a torch storage: a run of elements that tensors are views of.
type storage struct {
	key   string
	dtype DType // U8 for untyped storages
	bytes int64 // size that the pickle declares
	// root and offset are set for the legacy format's views of other storages.
	root   *storage
	offset int64
	// data is filled in by load, after the pickle was read and only if a wanted tensor needs it.
	data []byte
	load func() ([]byte, error)
}

// content returns the storage's bytes.
func (s *storage) content() ([]byte, error) {
	if s.data != nil || s.bytes == 0 {
		return s.data, nil
	}
	var data []byte
	var err error
	begin := int64(0)
	if s.root != nil {
		data, err = s.root.content()
		begin = s.offset
	} else {
		data, err = s.load()
	}
	if err != nil {
		return nil, err
	}
	end, ok := addInt64(begin, s.bytes)
	if !ok || end > int64(len(data)) {
		return nil, fmt.Errorf("storage %s: bytes %d to %d do not lie in its %d bytes", quoteShort(s.key), begin, end, len(data))
	}
	s.data = data[begin:end:end]
	return s.data, nil
}

// torchTensor is a tensor as the pickle describes it; its bytes come later.
type torchTensor struct {
	storage        *storage
	dtype          DType
	shape, strides []int64
	offset, extent int64 // first byte, and bytes from the first to behind the last element
}

// resolve makes the tensor that users see.
func (t *torchTensor) resolve(owner *Checkpoint, bigEndian bool) (*Tensor, error) {
	out := &Tensor{dtype: t.dtype, shape: t.shape, owner: owner}
	if t.extent == 0 {
		return out, nil
	}
	content, err := t.storage.content()
	if err != nil {
		return nil, err
	}
	data := content[t.offset : t.offset+t.extent : t.offset+t.extent]
	if isContiguous(t.shape, t.strides) && (!bigEndian || t.dtype.Size() == 1) {
		out.data = data
		return out, nil
	}
	v := &strided{data: data, dtype: t.dtype, shape: t.shape, strides: t.strides, bigEndian: bigEndian}
	out.gather = v.gather
	return out, nil
}

// torchReader turns the pickle of a torch file into tensors and plain values. Its call method is the allow-list.
type torchReader struct {
	storages map[string]*storage
	order    []*storage // in order of appearance
	// open gives a storage its loader; it fails for storages that the file does not have.
	open func(s *storage) error
	// budget bounds expanded tensors, total all tensors together.
	budget *budget
	total  *budget
}

func newTorchReader(fileSize int) *torchReader {
	return &torchReader{
		storages: make(map[string]*storage),
		budget:   newBudget(slack),
		total:    newBudget(maxAmplification*uint64(fileSize) + slack),
	}
}

func (r *torchReader) config() pickle.Config {
	return pickle.Config{Call: r.call, Persistent: r.persistent}
}

// persistent resolves ('storage', class, key, location, numel) and the legacy format's sixth part, a view of a storage.
func (r *torchReader) persistent(id any) (any, error) {
	t, ok := id.(pickle.Tuple)
	if !ok || len(t) < 5 || len(t) > 6 || t[0] != "storage" {
		return nil, errors.New("reference outside the pickle that is not a storage")
	}
	class, classOK := t[1].(pickle.Global)
	key, keyOK := t[2].(string)
	numel, numelOK := t[4].(int64)
	if !classOK || !keyOK || !numelOK || numel < 0 {
		return nil, errors.New("storage reference of another form")
	}
	dtype, ok := storageDType(class)
	if !ok {
		return nil, fmt.Errorf("storage class %s is not supported", quoteShort(class.String()))
	}
	size, ok := mulInt64(numel, int64(dtype.Size()))
	if !ok {
		return nil, fmt.Errorf("storage %s of %d elements is larger than any memory", quoteShort(key), numel)
	}
	root, err := r.storage(key, dtype, size)
	if err != nil || len(t) == 5 || t[5] == nil {
		return root, err
	}
	return r.storageView(root, t[5])
}

// storage returns the storage with a key, which must not change its type or size between references.
func (r *torchReader) storage(key string, dtype DType, size int64) (*storage, error) {
	if s, ok := r.storages[key]; ok {
		if s.dtype != dtype || s.bytes != size {
			return nil, fmt.Errorf("storage %s is declared twice in different ways", quoteShort(key))
		}
		return s, nil
	}
	s := &storage{key: key, dtype: dtype, bytes: size}
	if err := r.open(s); err != nil {
		return nil, err
	}
	r.storages[key] = s
	r.order = append(r.order, s)
	return s, nil
}

// storageView reads the legacy format's (key, offset, numel) of a storage that is part of another.
func (r *torchReader) storageView(root *storage, meta any) (any, error) {
	t, ok := meta.(pickle.Tuple)
	if !ok || len(t) != 3 {
		return nil, errors.New("storage view of another form")
	}
	n, err := nonNegative(t[1:])
	if err != nil {
		return nil, fmt.Errorf("storage view: %w", err)
	}
	size := int64(root.dtype.Size())
	offset, offsetOK := mulInt64(n[0], size)
	length, lengthOK := mulInt64(n[1], size)
	end, endOK := addInt64(offset, length)
	if !offsetOK || !lengthOK || !endOK || end > root.bytes {
		return nil, fmt.Errorf("storage view of %d elements at %d exceeds storage %s", n[1], n[0], quoteShort(root.key))
	}
	return &storage{key: root.key, dtype: root.dtype, bytes: length, root: root, offset: offset}, nil
}

func storageDType(class pickle.Global) (DType, bool) {
	if class.Module != "torch" && class.Module != "torch.storage" {
		return 0, false
	}
	if class.Name == "UntypedStorage" {
		return U8, true
	}
	for d := DType(1); d < numDType; d++ {
		if dtypeTable[d].legacy == class.Name && class.Name != "" {
			return d, true
		}
	}
	return 0, false
}

// tensor checks a tensor's description against its storage. Every product and sum is checked for overflow.
func (r *torchReader) tensor(s *storage, dtype DType, offset int64, shape, strides []int64) (*torchTensor, error) {
	n, err := byteCount(dtype, shape)
	if err != nil {
		return nil, err
	}
	if len(shape) != len(strides) {
		return nil, fmt.Errorf("%d sizes but %d strides", len(shape), len(strides))
	}
	t := &torchTensor{storage: s, dtype: dtype, shape: shape, strides: strides}
	if n == 0 {
		return t, nil
	}
	last, ok := int64(0), true
	for i, size := range shape {
		step, stepOK := mulInt64(size-1, strides[i])
		sum, sumOK := addInt64(last, step)
		last, ok = sum, ok && stepOK && sumOK
	}
	begin, beginOK := mulInt64(offset, int64(dtype.Size()))
	extent, extentOK := mulInt64(last, int64(dtype.Size()))
	extent, sizeOK := addInt64(extent, int64(dtype.Size()))
	end, endOK := addInt64(begin, extent)
	if !ok || !beginOK || !extentOK || !sizeOK || !endOK || end > s.bytes {
		return nil, fmt.Errorf("shape %s with strides %s at offset %d exceeds storage %s of %d bytes",
			ShapeString(shape), ShapeString(strides), offset, quoteShort(s.key), s.bytes)
	}
	t.offset, t.extent = begin, extent
	if n > extent { // elements overlap: an expanded tensor
		if err := r.budget.take(uint64(n)); err != nil {
			return nil, fmt.Errorf("shape %s expands %d bytes to %d: %w", ShapeString(shape), extent, n, err)
		}
	}
	if err := r.total.take(uint64(n)); err != nil {
		return nil, fmt.Errorf("tensors expand to %w", err)
	}
	return t, nil
}

// nonNegative converts a tuple of integers.
func nonNegative(items []any) ([]int64, error) {
	if len(items) > maxRank {
		return nil, fmt.Errorf("%d numbers, more than %d", len(items), maxRank)
	}
	out := make([]int64, 0, len(items))
	for _, item := range items {
		n, ok := item.(int64)
		if !ok || n < 0 {
			return nil, fmt.Errorf("a %s where a whole number >= 0 is due", describeInt(item))
		}
		out = append(out, n)
	}
	return slices.Clip(out), nil
}

func describeInt(v any) string {
	if n, ok := v.(int64); ok {
		return fmt.Sprint(n)
	}
	return pickle.TypeName(v)
}

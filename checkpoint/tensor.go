package checkpoint

import (
	"fmt"
	"math/bits"
	"slices"
)

// maxRank is PyTorch's own limit on the number of axes.
const maxRank = 64

// Tensor is a read-only array: an element type, a shape and its bytes. A tensor read from a file refers to the mapped
// file until the [Checkpoint] is closed; nothing is copied on opening. Tensors are safe for concurrent use.
type Tensor struct {
	dtype DType
	shape []int64
	data  []byte
	// gather makes the bytes when they do not lie one after another in little-endian order anywhere; data is then
	// nil.
	gather func() []byte
	// owner is the checkpoint whose mapping the bytes come from, nil for memory of its own.
	owner *Checkpoint
}

// NewTensor makes a tensor of shape from row-major, little-endian bytes. data is kept, not copied. An empty shape is a
// scalar. It fails when data's length is not the product of shape times the element size.
func NewTensor(dtype DType, shape []int64, data []byte) (*Tensor, error) {
	n, err := byteCount(dtype, shape)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: NewTensor: %w", err)
	}
	if n != int64(len(data)) {
		return nil, fmt.Errorf("checkpoint: NewTensor: shape %v of %s takes %d bytes, data has %d", shape, dtype, n, len(data))
	}
	return &Tensor{dtype: dtype, shape: slices.Clone(shape), data: data}, nil
}

// DType returns the type of the elements.
func (t *Tensor) DType() DType { return t.dtype }

// Shape returns a copy of the sizes of the axes; a scalar has none.
func (t *Tensor) Shape() []int64 { return slices.Clone(t.shape) }

// Rank returns the number of axes.
func (t *Tensor) Rank() int { return len(t.shape) }

// Numel returns the number of elements.
func (t *Tensor) Numel() int64 {
	n := int64(1)
	for _, s := range t.shape {
		n *= s
	}
	return n
}

// NumBytes returns the size of the elements in bytes.
func (t *Tensor) NumBytes() int64 { return t.Numel() * int64(t.dtype.Size()) }

// Bytes returns the elements row-major and little-endian. The slice refers to the mapped file where the elements lie
// there in this order, and is a fresh copy otherwise (strided views, big-endian files). It must not be written to, it
// may start at any address (a file need not align its tensors), and it ends with the checkpoint: calling Bytes after
// [Checkpoint.Close] panics, and using an earlier result then faults.
func (t *Tensor) Bytes() []byte {
	if t.owner != nil && t.owner.closed.Load() {
		panic("checkpoint: tensor used after its Checkpoint was closed")
	}
	if t.gather == nil {
		return t.data
	}
	return t.gather()
}

// Aliased reports whether Bytes refers to shared memory (the mapped file) rather than to a fresh copy.
func (t *Tensor) Aliased() bool { return t.gather == nil }

// Clone returns a tensor with memory of its own, which outlives the checkpoint.
func (t *Tensor) Clone() *Tensor {
	data := t.Bytes()
	if t.gather == nil {
		data = slices.Clone(data)
	}
	return &Tensor{dtype: t.dtype, shape: slices.Clone(t.shape), data: data}
}

// Reshape returns the same elements under another shape with as many of them.
func (t *Tensor) Reshape(shape ...int64) (*Tensor, error) {
	n, err := byteCount(t.dtype, shape)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: Reshape: %w", err)
	}
	if n != t.NumBytes() {
		return nil, fmt.Errorf("checkpoint: Reshape: %s does not have as many elements as shape %s", t, ShapeString(shape))
	}
	out := *t
	out.shape = slices.Clone(shape)
	return &out, nil
}

// Equal reports whether both tensors have the same type, shape and bytes. NaNs compare by their bits.
func (t *Tensor) Equal(o *Tensor) bool {
	return t.dtype == o.dtype && slices.Equal(t.shape, o.shape) && string(t.Bytes()) == string(o.Bytes())
}

// String returns the type and shape, such as "F32[64,3,3,3]".
func (t *Tensor) String() string { return t.dtype.String() + ShapeString(t.shape) }

// ShapeString formats a shape as "[64,3,3,3]".
func ShapeString(shape []int64) string {
	b := []byte{'['}
	for i, s := range shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Append(b, s)
	}
	return string(append(b, ']'))
}

// byteCount returns the bytes that a tensor takes, or an error for shapes that cannot be: negative sizes, too many
// axes, products beyond 63 bits (also of the sizes other than a zero, which strides are made of).
func byteCount(dtype DType, shape []int64) (int64, error) {
	if !dtype.Valid() {
		return 0, fmt.Errorf("unknown element type %s", dtype)
	}
	if len(shape) > maxRank {
		return 0, fmt.Errorf("%d axes, more than %d", len(shape), maxRank)
	}
	n, zero := int64(dtype.Size()), false
	for _, s := range shape {
		switch {
		case s < 0:
			return 0, fmt.Errorf("negative size in shape %s", ShapeString(shape))
		case s == 0:
			zero = true
			continue
		}
		var ok bool
		if n, ok = mulInt64(n, s); !ok {
			return 0, fmt.Errorf("shape %s of %s is larger than any memory", ShapeString(shape), dtype)
		}
	}
	if zero {
		return 0, nil
	}
	return n, nil
}

// mulInt64 multiplies two values >= 0 and reports whether the product fits.
func mulInt64(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return int64(lo), hi == 0 && int64(lo) >= 0
}

// addInt64 adds two values >= 0 and reports whether the sum fits.
func addInt64(a, b int64) (int64, bool) {
	s := a + b
	return s, s >= 0
}

package checkpoint

import (
	"fmt"
	"slices"
)

// strided describes elements in a storage that are not one row-major, little-endian run: torch.save keeps transposed,
// sliced and expanded tensors as strides over a shared storage.
type strided struct {
	// data starts at the tensor's first element.
	data  []byte
	dtype DType
	shape []int64
	// strides counts elements, not bytes, from one index of an axis to the next. All are >= 0.
	strides []int64
	// bigEndian marks storages written on a big-endian machine.
	bigEndian bool
}

// gather copies the elements into row-major little-endian order.
func (v *strided) gather() []byte {
	size := int64(v.dtype.Size())
	n := size
	for _, s := range v.shape {
		n *= s
	}
	out := make([]byte, 0, n)
	if n == 0 {
		return out
	}
	// The innermost axes that lie densely are copied as one run.
	run, axes := size, len(v.shape)
	for axes > 0 && v.strides[axes-1]*size == run {
		axes--
		run *= v.shape[axes]
	}
	index := make([]int64, axes)
	for at, axis := int64(0), 0; axis >= 0; {
		out = append(out, v.data[at:at+run]...)
		for axis = axes - 1; axis >= 0; axis-- {
			index[axis]++
			at += v.strides[axis] * size
			if index[axis] < v.shape[axis] {
				break
			}
			at -= index[axis] * v.strides[axis] * size
			index[axis] = 0
		}
	}
	if v.bigEndian {
		swapBytes(out, v.dtype)
	}
	return out
}

// swapBytes turns the byte order of every number around; a complex element is two numbers.
func swapBytes(b []byte, dtype DType) {
	size := dtype.Size()
	if dtype == C64 || dtype == C128 {
		size /= 2
	}
	for i := 0; i+size <= len(b); i += size {
		slices.Reverse(b[i : i+size])
	}
}

// contiguousStrides returns the strides, in elements, of row-major order.
func contiguousStrides(shape []int64) []int64 {
	strides := make([]int64, len(shape))
	n := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		strides[i] = n
		n *= max(shape[i], 1)
	}
	return strides
}

// isContiguous reports whether strides are those of row-major order. Axes of size 1 may have any stride, and a tensor
// without elements any strides at all.
func isContiguous(shape, strides []int64) bool {
	if slices.Contains(shape, 0) {
		return true
	}
	n := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] != 1 && strides[i] != n {
			return false
		}
		n *= shape[i]
	}
	return true
}

// rows returns rows begin to end of t's first axis, under the given shape, without copying.
func (t *Tensor) rows(begin, end int64, shape []int64) (*Tensor, error) {
	if t.Rank() == 0 || begin < 0 || begin > end || end > t.shape[0] {
		return nil, fmt.Errorf("rows %d to %d of %s", begin, end, t)
	}
	row := int64(t.dtype.Size())
	for _, s := range t.shape[1:] {
		row *= s
	}
	n, err := byteCount(t.dtype, shape)
	if err != nil {
		return nil, err
	}
	if n != row*(end-begin) {
		return nil, fmt.Errorf("rows %d to %d of %s do not make a shape of %s", begin, end, t, ShapeString(shape))
	}
	out := &Tensor{dtype: t.dtype, shape: slices.Clone(shape), owner: t.owner}
	if t.gather == nil {
		out.data = t.data[begin*row : end*row : end*row]
	} else {
		out.gather = func() []byte { return t.gather()[begin*row : end*row] }
	}
	return out, nil
}

// joinRows returns the elements of parts one after another, under the given shape. They are joined each time the bytes
// are asked for, so that converting a layout takes no memory.
func joinRows(parts []*Tensor, shape []int64) (*Tensor, error) {
	out := &Tensor{dtype: parts[0].dtype, shape: slices.Clone(shape), owner: parts[0].owner}
	total := int64(0)
	for _, p := range parts {
		if p.dtype != out.dtype {
			return nil, fmt.Errorf("parts of type %s and %s cannot be joined", out.dtype, p.dtype)
		}
		total += p.NumBytes()
	}
	n, err := byteCount(out.dtype, shape)
	if err != nil {
		return nil, err
	}
	if n != total {
		return nil, fmt.Errorf("%d parts of %d bytes do not make a shape of %s", len(parts), total, ShapeString(shape))
	}
	parts = slices.Clone(parts)
	out.gather = func() []byte {
		joined := make([]byte, 0, n)
		for _, p := range parts {
			joined = append(joined, p.Bytes()...)
		}
		return joined
	}
	return out, nil
}

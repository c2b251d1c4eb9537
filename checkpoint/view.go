package checkpoint

// view says how the elements of a tensor lie in a storage: torch.save keeps transposed and sliced tensors as strides
// over a shared storage.
type view struct {
	// strides counts elements, not bytes, from one index of an axis to the next. All are >= 0.
	strides []int64
	// bigEndian marks storages written on a big-endian machine.
	bigEndian bool
}

// gather copies the elements of data, which starts at the tensor's first element, into row-major little-endian order.
func (v *view) gather(data []byte, shape []int64, dtype DType) []byte {
	size := int64(dtype.Size())
	n := size
	for _, s := range shape {
		n *= s
	}
	out := make([]byte, 0, n)
	if n == 0 {
		return out
	}
	// The innermost axes that lie densely are copied as one run.
	run, axes := size, len(shape)
	for axes > 0 && v.strides[axes-1]*size == run {
		axes--
		run *= shape[axes]
	}
	index := make([]int64, axes)
	at := int64(0)
	for {
		out = append(out, data[at:at+run]...)
		axis := axes - 1
		for ; axis >= 0; axis-- {
			index[axis]++
			at += v.strides[axis] * size
			if index[axis] < shape[axis] {
				break
			}
			at -= index[axis] * v.strides[axis] * size
			index[axis] = 0
		}
		if axis < 0 {
			break
		}
	}
	if v.bigEndian {
		swapBytes(out, dtype)
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
		for lo, hi := i, i+size-1; lo < hi; lo, hi = lo+1, hi-1 {
			b[lo], b[hi] = b[hi], b[lo]
		}
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
	n := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		switch {
		case shape[i] == 0:
			return true
		case shape[i] != 1 && strides[i] != n:
			return false
		}
		n *= shape[i]
	}
	return true
}

package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gonatten/gonatten/checkpoint/pickle"
)

// numpyDType is a numpy.dtype such as 'f8'. Training scripts store metrics as numpy scalars.
type numpyDType struct {
	name   string
	little bool
}

// Build takes (version, byte order, ...), the state of a numpy.dtype.
func (d *numpyDType) Build(state any) error {
	t, ok := state.(pickle.Tuple)
	if !ok || len(t) < 2 {
		return errors.New("numpy.dtype state of another form")
	}
	d.little = t[1] != ">"
	return nil
}

// numpyScalar decodes the two arguments of numpy's scalar function: type and bytes.
func numpyScalar(args pickle.Tuple) (any, bool, error) {
	dtype, isDType := args[0].(*numpyDType)
	raw, isBytes := args[1].(pickle.Bytes)
	if !isDType || !isBytes || len(raw) > 16 {
		return nil, false, nil
	}
	b := slices.Clone(raw)
	if !dtype.little {
		slices.Reverse(b)
	}
	var word [8]byte
	copy(word[:], b)
	bits := binary.LittleEndian.Uint64(word[:])
	want := map[string]int{"f8": 8, "f4": 4, "i8": 8, "i4": 4, "i2": 2, "i1": 1, "u8": 8, "u4": 4, "u2": 2, "u1": 1, "b1": 1}
	n, known := want[dtype.name]
	if !known {
		return nil, false, nil
	}
	if len(b) != n {
		return nil, false, fmt.Errorf("numpy scalar of type %s has %d bytes", dtype.name, len(b))
	}
	switch dtype.name {
	case "f8":
		return math.Float64frombits(bits), true, nil
	case "f4":
		return float64(math.Float32frombits(uint32(bits))), true, nil
	case "i4":
		return int64(int32(bits)), true, nil
	case "i2":
		return int64(int16(bits)), true, nil
	case "i1":
		return int64(int8(bits)), true, nil
	case "b1":
		return bits != 0, true, nil
	case "u8":
		if bits > math.MaxInt64 {
			return float64(bits), true, nil
		}
	}
	return int64(bits), true, nil
}

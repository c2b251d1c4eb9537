package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rawSafetensors builds a file from a header's text and data, right or wrong.
func rawSafetensors(header string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data...)
}

func TestOpenSafetensorsGolden(t *testing.T) {
	c, err := OpenSafetensors("testdata/pth/variety.safetensors")
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, 17, c.Tensors.Len())
	require.Equal(t, "i64", c.Tensors.Names()[0])

	b, ok := c.Tensors.Get("bool")
	require.True(t, ok)
	require.Equal(t, "BOOL[1,3]", b.String())
	scalar, ok := c.Tensors.Get("scalar")
	require.True(t, ok)
	require.Equal(t, 0, scalar.Rank())
	require.EqualValues(t, 1, scalar.Numel())
	empty, ok := c.Tensors.Get("empty")
	require.True(t, ok)
	require.Equal(t, []int64{0, 4}, empty.Shape())
	require.Empty(t, empty.Bytes())

	special := floats(t, c.Tensors, "special")
	require.True(t, math.IsNaN(special[0]))
	require.Equal(t, []float64{math.Inf(1), math.Inf(-1), math.Copysign(0, -1), math.Ldexp(1, -149)}, special[1:])
	require.True(t, math.Signbit(special[3]))
	require.Equal(t, []float64{2.5}, floats(t, c.Tensors, "scalar"))
	require.Equal(t, []float64{-128, 127}, floats(t, c.Tensors, "i8"))
	require.Equal(t, []float64{-32768, 0, 32767}, floats(t, c.Tensors, "i16"))
}

func floats(t *testing.T, s *StateDict, name string) []float64 {
	t.Helper()
	tensor, ok := s.Get(name)
	require.True(t, ok, name)
	v, err := tensor.Float64s()
	require.NoError(t, err)
	return v
}

func TestSafetensorsRoundTrip(t *testing.T) {
	in, err := OpenSafetensors("testdata/pth/variety.safetensors")
	require.NoError(t, err)
	defer in.Close()
	path := filepath.Join(t.TempDir(), "out.safetensors")
	meta := map[string]string{"model": "nat_mini", "quote": "a \"b\"\n<c>", "ünï": "ço∂e"}
	require.NoError(t, SaveSafetensors(path, in.Tensors, meta))
	out, err := OpenSafetensors(path)
	require.NoError(t, err)
	defer out.Close()
	require.Equal(t, meta, out.Metadata)
	require.Equal(t, in.Tensors.Names(), out.Tensors.Names())
	require.True(t, in.Tensors.Equal(out.Tensors))
}

func TestSafetensorsWriterKeepsOrderAndAligns(t *testing.T) {
	s := NewStateDict()
	s.Set("flag", must(NewTensor(Bool, []int64{3}, []byte{1, 0, 1})))
	s.Set("half", must(NewTensor(F16, []int64{1}, []byte{0, 0x3c})))
	s.Set("wide", must(FromFloat64s([]float64{1, 2}, 2)))
	var buf bytes.Buffer
	require.NoError(t, WriteSafetensors(&buf, s, nil))
	header, data, err := splitSafetensors(buf.Bytes())
	require.NoError(t, err)
	require.Zero(t, (8+len(header))%8)
	entries, _, err := parseHeader(header)
	require.NoError(t, err)
	require.Len(t, data, 21)
	for _, e := range entries {
		require.Zero(t, e.begin%int64(e.dtype.Size()), e.name)
	}
	c, err := ParseSafetensors(buf.Bytes())
	require.NoError(t, err)
	require.Equal(t, []string{"flag", "half", "wide"}, c.Tensors.Names())
	require.Empty(t, c.Metadata)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestSafetensorsEmpty(t *testing.T) {
	var buf bytes.Buffer
	require.NoError(t, WriteSafetensors(&buf, NewStateDict(), nil))
	c, err := ParseSafetensors(buf.Bytes())
	require.NoError(t, err)
	require.Zero(t, c.Tensors.Len())
}

func TestSafetensorsRejects(t *testing.T) {
	entry := func(dtype, shape string, begin, end int) string {
		return fmt.Sprintf(`{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, dtype, shape, begin, end)
	}
	f32 := entry("F32", "[2]", 0, 8)
	eight := make([]byte, 8)
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty file":         {nil, "0 bytes are too few"},
		"short file":         {[]byte("1234567"), "7 bytes are too few"},
		"header over limit":  {binary.LittleEndian.AppendUint64(nil, 100_000_001), "limit of 100000000"},
		"header over file":   {rawSafetensors(`{"a":`+f32+`}`, nil)[:20], "truncated"},
		"negative header":    {binary.LittleEndian.AppendUint64(nil, math.MaxUint64), "limit"},
		"not an object":      {rawSafetensors(`[]`, nil), "does not start with '{'"},
		"no JSON":            {rawSafetensors(`{"a"`, nil), "expected ':'"},
		"not UTF-8":          {rawSafetensors("{\"\xff\":"+f32+"}", eight), "not UTF-8"},
		"trailing":           {rawSafetensors(`{"a":`+f32+`} {`, eight), "after the header's end"},
		"duplicate name":     {rawSafetensors(`{"a":`+f32+`,"a":`+f32+`}`, eight), "appears twice"},
		"escaped duplicate":  {rawSafetensors(`{"a":`+f32+`,"\u0061":`+f32+`}`, eight), "appears twice"},
		"duplicate field":    {rawSafetensors(`{"a":{"dtype":"F32","dtype":"F32"}}`, eight), "repeated field"},
		"unknown field":      {rawSafetensors(`{"a":{"DType":"F32"}}`, eight), "unknown or repeated field"},
		"missing field":      {rawSafetensors(`{"a":{"dtype":"F32","shape":[2]}}`, eight), "missing"},
		"unknown dtype":      {rawSafetensors(`{"a":`+entry("F33", "[2]", 0, 8)+`}`, eight), `"F33" is not supported`},
		"negative size":      {rawSafetensors(`{"a":`+entry("F32", "[-2]", 0, 8)+`}`, eight), "whole number"},
		"float size":         {rawSafetensors(`{"a":`+entry("F32", "[2.0]", 0, 8)+`}`, eight), "expected ','"},
		"giant size":         {rawSafetensors(`{"a":`+entry("F32", "[99999999999999999999]", 0, 8)+`}`, eight), "out of range"},
		"overflowing shape":  {rawSafetensors(`{"a":`+entry("F32", "[4294967296,4294967296]", 0, 8)+`}`, eight), "larger than any memory"},
		"wrapping shape":     {rawSafetensors(`{"a":`+entry("F32", "[4611686018427387904,4]", 0, 0)+`}`, nil), "larger than any memory"},
		"overflow with zero": {rawSafetensors(`{"a":`+entry("F32", "[0,4294967296,4294967296]", 0, 0)+`}`, nil), "larger than any memory"},
		"too many axes":      {rawSafetensors(`{"a":`+entry("F32", "[1"+strings.Repeat(",1", 64)+"]", 0, 4)+`}`, eight[:4]), "more than 64"},
		"shape and bytes":    {rawSafetensors(`{"a":`+entry("F32", "[3]", 0, 8)+`}`, eight), "takes 12 bytes"},
		"truncated data":     {rawSafetensors(`{"a":`+f32+`}`, eight[:7]), "truncated"},
		"offsets reversed":   {rawSafetensors(`{"a":`+entry("F32", "[2]", 8, 0)+`}`, eight), "do not lie"},
		"extra data":         {rawSafetensors(`{"a":`+f32+`}`, make([]byte, 9)), "end at byte 8 of 9"},
		"hole":               {rawSafetensors(`{"a":`+entry("F32", "[1]", 0, 4)+`,"b":`+entry("F32", "[1]", 8, 12)+`}`, make([]byte, 12)), "hole"},
		"overlap":            {rawSafetensors(`{"a":`+f32+`,"b":`+entry("F32", "[2]", 4, 12)+`}`, make([]byte, 12)), "overlap"},
		"same bytes":         {rawSafetensors(`{"a":`+f32+`,"b":`+f32+`}`, eight), "overlap"},
		"metadata number":    {rawSafetensors(`{"__metadata__":{"a":1}}`, nil), "expected '\"'"},
		"metadata duplicate": {rawSafetensors(`{"__metadata__":{"a":"1","a":"2"}}`, nil), "appears twice"},
		"open string":        {rawSafetensors(`{"a`, nil), "does not end"},
		"open escape":        {rawSafetensors(`{"a\`, nil), "does not end"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseSafetensors(c.file)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestSafetensorsErrorNamesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broken.safetensors")
	require.NoError(t, os.WriteFile(path, []byte("nonsense and more"), 0o600))
	_, err := OpenSafetensors(path)
	require.ErrorContains(t, err, path)
	_, err = OpenSafetensors(path + ".missing")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestSafetensorsEveryBit flips each bit of a file written here: the checksum or a structural check must see it.
func TestSafetensorsEveryBit(t *testing.T) {
	s := NewStateDict()
	s.Set("a", must(FromFloat32s([]float32{1, 2, 3, 4, 5, 6}, 2, 3)))
	s.Set("b", must(FromInt64s([]int64{7})))
	var buf bytes.Buffer
	require.NoError(t, WriteSafetensors(&buf, s, map[string]string{"epoch": "3"}))
	file := buf.Bytes()
	missed := 0
	for i := range len(file) * 8 {
		file[i/8] ^= 1 << (i % 8)
		c, err := ParseSafetensors(file)
		if err == nil {
			// Only the name of the checksum itself may change unseen, or white space; nothing that it protects.
			missed++
			require.True(t, s.Equal(c.Tensors), "bit %d", i)
		}
		file[i/8] ^= 1 << (i % 8)
	}
	require.Less(t, missed, len(checksumKey+checksumPrefix)*8+32)
	_, err := ParseSafetensors(file)
	require.NoError(t, err)
}

func TestChecksumOverSeveralChunks(t *testing.T) {
	s := NewStateDict()
	big := make([]byte, 2*checksumChunk+5)
	big[checksumChunk] = 1
	s.Set("big", FromBytes(big))
	var buf bytes.Buffer
	require.NoError(t, WriteSafetensors(&buf, s, nil))
	_, err := ParseSafetensors(buf.Bytes())
	require.NoError(t, err)
	buf.Bytes()[buf.Len()-1] ^= 1
	_, err = ParseSafetensors(buf.Bytes())
	require.ErrorIs(t, err, ErrChecksum)
}

// TestReadChecksWhileItCopies: with LateChecksum a damaged file opens, and Read fails; a whole one is copied, what lies
// across chunks and what two names share too.
func TestReadChecksWhileItCopies(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	s := NewStateDict()
	for i, n := range []int{3, checksumChunk + 77, 0, 1000, 2*checksumChunk - 5} {
		data := make([]byte, n)
		for j := range data {
			data[j] = byte(rng.Uint32())
		}
		s.Set(string(rune('a'+i)), FromBytes(data))
	}
	path := filepath.Join(t.TempDir(), "w.safetensors")
	require.NoError(t, SaveSafetensors(path, s, map[string]string{"k": "v"}))
	open := func() (*Checkpoint, []Destination) {
		c, err := Open(path, &Options{LateChecksum: true})
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		var into []Destination
		for _, tensor := range c.Tensors.All() {
			into = append(into, Destination{tensor, make([]byte, tensor.NumBytes())}, Destination{tensor, make([]byte, tensor.NumBytes())})
		}
		into = append(into, Destination{FromBytes([]byte("elsewhere")), make([]byte, 9)})
		return c, into
	}
	c, into := open()
	require.ErrorContains(t, c.Read([]Destination{{into[0].Tensor, make([]byte, 2)}}), "U8[3] takes 3 bytes, its memory has 2")
	require.NoError(t, c.Read(into))
	for _, d := range into {
		require.True(t, bytes.Equal(d.Tensor.Bytes(), d.Memory))
		clear(d.Memory)
	}
	require.NoError(t, c.Read(into), "once more, without checking")
	for _, d := range into {
		require.True(t, bytes.Equal(d.Tensor.Bytes(), d.Memory))
	}

	file, err := os.ReadFile(path)
	require.NoError(t, err)
	file[len(file)-checksumChunk-9] ^= 4
	require.NoError(t, os.WriteFile(path, file, 0o600))
	c, into = open()
	require.ErrorIs(t, c.Read(into), ErrChecksum)
	require.ErrorIs(t, c.Read(nil), ErrChecksum, "it stays damaged")
	_, err = Open(path, nil)
	require.ErrorIs(t, err, ErrChecksum)
	file[20] ^= 1 // of the header
	require.NoError(t, os.WriteFile(path, file, 0o600))
	_, err = Open(path, &Options{LateChecksum: true})
	require.Error(t, err)
}

func TestSafetensorsWriterErrors(t *testing.T) {
	for _, name := range []string{metadataKey, "\xff"} {
		s := NewStateDict()
		s.Set(name, FromBytes(nil))
		require.Error(t, WriteSafetensors(io.Discard, s, nil))
	}
	complex128s := NewStateDict()
	complex128s.Set("a", must(NewTensor(C128, nil, make([]byte, 16))))
	require.ErrorContains(t, WriteSafetensors(io.Discard, complex128s, nil), "no element type C128")
	require.Error(t, WriteSafetensors(io.Discard, NewStateDict(), map[string]string{"a": "\xff"}))
}

// TestSaveOverOpenFile writes over the file that the tensors come from: the mapping keeps the old content.
func TestSaveOverOpenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	s := NewStateDict()
	s.Set("a", must(FromFloat32s([]float32{1, 2}, 2)))
	require.NoError(t, SaveSafetensors(path, s, nil))
	c, err := OpenSafetensors(path)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, SaveSafetensors(path, c.Tensors, map[string]string{"n": "2"}))
	again, err := OpenSafetensors(path)
	require.NoError(t, err)
	defer again.Close()
	require.True(t, s.Equal(again.Tensors))
}

func TestUseAfterClose(t *testing.T) {
	c, err := OpenSafetensors("testdata/pth/variety.safetensors")
	require.NoError(t, err)
	tensor, _ := c.Tensors.Get("f32")
	kept := tensor.Clone()
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.Panics(t, func() { tensor.Bytes() })
	require.EqualValues(t, 48*4, len(kept.Bytes()))
}

package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image/jpeg"
	"image/png"
	"testing"

	"github.com/gonatten/gonatten/data/raster"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gradient makes a picture of w x h with some structure.
func gradient(w, h, channels int) *raster.Image {
	m := raster.New(w, h, channels)
	for y := 0; y < h; y++ {
		for i, row := 0, m.Row(y); i < len(row); i++ {
			row[i] = uint8(y*3 + i*5/(1+y%7))
		}
	}
	return m
}

func TestPNGIsExact(t *testing.T) {
	for _, channels := range []int{1, 3} {
		m := gradient(13, 7, channels)
		var buf bytes.Buffer
		require.NoError(t, png.Encode(&buf, m.Std()))
		got := &raster.Image{}
		require.NoError(t, Decode(got, buf.Bytes()))
		assert.Equal(t, m, got)
		info, err := Stat(buf.Bytes())
		require.NoError(t, err)
		assert.Equal(t, Info{Width: 13, Height: 7, Format: "png"}, info)
	}
}

func TestDamagedFilesAreErrors(t *testing.T) {
	var p, j bytes.Buffer
	require.NoError(t, png.Encode(&p, gradient(40, 30, 3).Std()))
	require.NoError(t, jpeg.Encode(&j, gradient(40, 30, 3).Std(), nil))
	dst := &raster.Image{}
	for _, whole := range [][]byte{p.Bytes(), j.Bytes()} {
		for _, n := range []int{1, 2, 10, 24, len(whole) / 2} {
			assert.Error(t, Decode(dst, whole[:n]), "%d of %d bytes", n, len(whole))
		}
	}
	assert.ErrorIs(t, Decode(dst, nil), ErrEmpty)
	assert.ErrorContains(t, Decode(dst, []byte("<html>")), "3c 68 74 6d")
}

func TestHugeHeaderIsRefused(t *testing.T) {
	var p bytes.Buffer
	require.NoError(t, png.Encode(&p, gradient(4, 4, 1).Std()))
	b := p.Bytes()
	binary.BigEndian.PutUint32(b[16:], 1<<30) // the width in IHDR; its checksum follows
	_, err := Stat(b)
	assert.Error(t, err)
}

func ExampleDecode() {
	var file bytes.Buffer
	if err := png.Encode(&file, raster.New(4, 2, 3).Std()); err != nil {
		fmt.Println(err)
		return
	}
	m := &raster.Image{}
	if err := Decode(m, file.Bytes()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Width, m.Height, m.Channels)
	// Output: 4 2 3
}

package jpeg

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/gonatten/gonatten/data/internal/photos"
	"github.com/gonatten/gonatten/data/raster"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pillowCase is a file and Pillow's decoding of it.
type pillowCase struct {
	name  string
	file  []byte
	want  *raster.Image
	scale int
}

// pillowCases reads the reference pictures, those of the files that this package
// decodes.
func pillowCases(t *testing.T) []pillowCase {
	t.Helper()
	dir := filepath.Join("..", "testdata")
	text, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	require.NoError(t, err)
	var list []struct {
		Name, Source string
		Args         struct{ Scale int }
	}
	require.NoError(t, json.Unmarshal(text, &list))
	var out []pillowCase
	for _, c := range list {
		if c.Name == "cmyk" {
			continue
		}
		p := pillowCase{name: c.Name, scale: max(1, c.Args.Scale), want: &raster.Image{}}
		p.file, err = os.ReadFile(filepath.Join(dir, c.Source))
		require.NoError(t, err)
		f, err := os.Open(filepath.Join(dir, c.Name+".png"))
		require.NoError(t, err)
		m, err := png.Decode(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		raster.FromStd(p.want, m)
		out = append(out, p)
	}
	require.Greater(t, len(out), 30)
	return out
}

func TestDecodeEqualsPillow(t *testing.T) {
	var d Decoder
	for _, c := range pillowCases(t) {
		got := &raster.Image{}
		require.NoError(t, d.DecodeRegion(got, c.file, image.Rectangle{}, c.scale), c.name)
		require.Equal(t, [3]int{c.want.Width, c.want.Height, c.want.Channels}, [3]int{got.Width, got.Height, got.Channels}, c.name)
		worst, n := 0, 0
		for i, v := range c.want.Pix {
			if e := int(v) - int(got.Pix[i]); e != 0 {
				worst = max(worst, e, -e)
				n++
			}
		}
		assert.Zero(t, worst, "%s: %d of %d values differ", c.name, n, len(c.want.Pix))
	}
}

func TestRegionEqualsPartOfWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var d Decoder
	for _, c := range pillowCases(t) {
		for range 25 {
			x, y := rng.IntN(c.want.Width), rng.IntN(c.want.Height)
			region := image.Rect(x, y, x+1+rng.IntN(c.want.Width-x), y+1+rng.IntN(c.want.Height-y))
			got := &raster.Image{}
			require.NoError(t, d.DecodeRegion(got, c.file, region, c.scale), c.name)
			require.Equal(t, [2]int{region.Dx(), region.Dy()}, [2]int{got.Width, got.Height})
			for row := range got.Height {
				at := region.Min.X * c.want.Channels
				require.Equal(t, c.want.Row(region.Min.Y + row)[at:at+len(got.Row(row))], got.Row(row), "%s %v row %d", c.name, region, row)
			}
		}
		err := d.DecodeRegion(&raster.Image{}, c.file, image.Rect(0, 0, c.want.Width+1, 1), c.scale)
		assert.ErrorContains(t, err, "is not inside the picture")
	}
	assert.ErrorContains(t, d.DecodeRegion(&raster.Image{}, nil, image.Rectangle{}, 3), "scale 1/3")
}

func TestSize(t *testing.T) {
	for _, c := range pillowCases(t) {
		w, h, n, err := Size(c.file)
		require.NoError(t, err)
		assert.Equal(t, c.want.Channels, n)
		assert.Equal(t, [2]int{c.want.Width, c.want.Height}, [2]int{ceilDiv(w, c.scale), ceilDiv(h, c.scale)})
		for _, n := range []int{0, 1, 2, 5, 20} {
			_, _, _, err = Size(c.file[:n])
			assert.Error(t, err)
		}
	}
}

// TestVectorKernelsEqualTheOthers decodes with and without vector instructions.
func TestVectorKernelsEqualTheOthers(t *testing.T) {
	if !useAVX2 {
		t.Skip("this processor has no AVX2")
	}
	defer func() { useAVX2 = true }()
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		var block [64]int32
		for k := range 1 + rng.IntN(64) {
			block[k] = int32(rng.NormFloat64() * 300)
		}
		var got [2][8 * 11]uint8
		for i := range got {
			useAVX2 = i == 1
			b := block
			idct8(&b, got[i][:], 11)
		}
		require.Equal(t, got[0], got[1])
	}
	for range 500 {
		n := 3 + rng.IntN(80)
		from := rng.IntN(n)
		to := from + 1 + rng.IntN(n-from)
		rows := make([]uint8, 3*n)
		for i := range rows {
			rows[i] = uint8(rng.Uint32())
		}
		var wide, rgb [2][]uint8
		for i := range wide {
			useAVX2 = i == 1
			wide[i] = make([]uint8, 2*(to-from))
			triangle4(wide[i], rows[:n], rows[n:2*n], from, to)
			rgb[i] = make([]uint8, 3*n)
			toRGB(rgb[i], rows[:n], rows[n:2*n], rows[2*n:])
		}
		require.Equal(t, wide[0], wide[1])
		require.Equal(t, rgb[0], rgb[1])
	}
	for _, c := range pillowCases(t) {
		var got [2]raster.Image
		for i := range got {
			useAVX2 = i == 1
			var d Decoder
			require.NoError(t, d.DecodeRegion(&got[i], c.file, image.Rectangle{}, c.scale))
		}
		require.Equal(t, got[0], got[1], c.name)
	}
}

// TestTruncatedFilesAreErrors cuts a file everywhere: no cut may give a picture,
// whatever the region.
func TestTruncatedFilesAreErrors(t *testing.T) {
	var d Decoder
	for _, c := range pillowCases(t) {
		if c.scale > 1 {
			continue
		}
		for n := 0; n < len(c.file)-2; n += 1 + n/40 {
			assert.Error(t, d.Decode(&raster.Image{}, c.file[:n]), "%s cut at %d of %d", c.name, n, len(c.file))
			assert.Error(t, d.DecodeRegion(&raster.Image{}, c.file[:n], image.Rect(0, 0, 2, 2), 1), "%s cut at %d of %d, a corner", c.name, n, len(c.file))
		}
	}
}

// TestDamagedFilesDoNotPanic changes bytes at random: a picture or an error may
// come out, and the decoder must work afterwards.
func TestDamagedFilesDoNotPanic(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var d Decoder
	failures := 0
	for _, c := range pillowCases(t) {
		for range 150 {
			bad := bytes.Clone(c.file)
			for range 1 + rng.IntN(4) {
				bad[2+rng.IntN(len(bad)-2)] = uint8(rng.Uint32())
			}
			if d.DecodeRegion(&raster.Image{}, bad, image.Rectangle{}, c.scale) != nil {
				failures++
			}
		}
		got := &raster.Image{}
		require.NoError(t, d.DecodeRegion(got, c.file, image.Rectangle{}, c.scale))
		require.Equal(t, c.want, got)
	}
	assert.Greater(t, failures, 100)
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"s420", "gray", "progressive", "restart"} {
		data, err := os.ReadFile(filepath.Join("..", "testdata", name+".jpg"))
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if w, h, _, err := Size(data); err != nil || w*h > 1<<20 {
			return
		}
		var d Decoder
		_ = d.Decode(&raster.Image{}, data)
	})
}

func TestUnsupportedKinds(t *testing.T) {
	var d Decoder
	cmyk, err := os.ReadFile(filepath.Join("..", "testdata", "cmyk.jpg"))
	require.NoError(t, err)
	assert.True(t, IsUnsupported(d.Decode(&raster.Image{}, cmyk)))
	var buf bytes.Buffer
	require.NoError(t, jpeg.Encode(&buf, image.NewGray(image.Rect(0, 0, 8, 8)), nil))
	at := bytes.Index(buf.Bytes(), []byte{0xff, mSOF0})
	for offset, value := range map[int]byte{1: 0xc9, 4: 12} { // arithmetic coding, 12 bits
		b := bytes.Clone(buf.Bytes())
		b[at+offset] = value
		err := d.Decode(&raster.Image{}, b)
		assert.True(t, IsUnsupported(err), "%v", err)
	}
	huge := bytes.Clone(buf.Bytes())
	copy(huge[at+5:], []byte{0xff, 0xff, 0xff, 0xff})
	err = d.Decode(&raster.Image{}, huge)
	assert.ErrorContains(t, err, "picture of 65535x65535 pixels in")
	assert.False(t, IsUnsupported(err))
}

// TestRGBComponents checks the files whose components are named R, G and B.
func TestRGBComponents(t *testing.T) {
	img := image.NewYCbCr(image.Rect(0, 0, 16, 16), image.YCbCrSubsampleRatio444)
	for i := range img.Y {
		img.Y[i], img.Cb[i], img.Cr[i] = 120, 100, 140
	}
	var buf bytes.Buffer
	require.NoError(t, jpeg.Encode(&buf, ycbcr444{img}, &jpeg.Options{Quality: 100}))
	var d Decoder
	got := &raster.Image{}
	require.NoError(t, d.Decode(got, buf.Bytes()))
	r, g, b := color.YCbCrToRGB(120, 100, 140)
	assert.InDeltaSlice(t, []int{int(r), int(g), int(b)}, []int{int(got.Pix[0]), int(got.Pix[1]), int(got.Pix[2])}, 3)

	file := buf.Bytes()
	at := bytes.Index(file, []byte{0xff, mSOF0})
	ids := map[byte]byte{1: 'R', 2: 'G', 3: 'B'}
	for i := range 3 {
		file[at+10+3*i] = ids[file[at+10+3*i]]
	}
	at = bytes.Index(file, []byte{0xff, mSOS})
	for i := range 3 {
		file[at+5+2*i] = ids[file[at+5+2*i]]
	}
	require.NoError(t, d.Decode(got, file))
	assert.InDeltaSlice(t, []int{120, 100, 140}, []int{int(got.Pix[0]), int(got.Pix[1]), int(got.Pix[2])}, 3)
}

// ycbcr444 hides the type, so that the encoder takes the general path.
type ycbcr444 struct{ image.Image }

func BenchmarkDecode(b *testing.B) {
	file, err := photos.JPEG(1, 500, 375, 96)
	require.NoError(b, err)
	b.Run("std", func(b *testing.B) {
		for b.Loop() {
			if _, err := jpeg.Decode(bytes.NewReader(file)); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, region := range map[string]image.Rectangle{
		"whole": image.Rect(0, 0, 500, 375), "half": image.Rect(70, 50, 430, 320), "corner": image.Rect(0, 0, 16, 16),
		"bottom": image.Rect(480, 360, 500, 375),
	} {
		b.Run(name, func(b *testing.B) {
			var d Decoder
			dst := &raster.Image{}
			for b.Loop() {
				if err := d.DecodeRegion(dst, file, region, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, scale := range []int{2, 4, 8} {
		b.Run("scale"+string(rune('0'+scale)), func(b *testing.B) {
			var d Decoder
			dst := &raster.Image{}
			for b.Loop() {
				if err := d.DecodeRegion(dst, file, image.Rectangle{}, scale); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

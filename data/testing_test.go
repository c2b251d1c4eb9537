package data

import (
	"archive/tar"
	"bytes"
	"fmt"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/gonatten/gonatten/data/raster"
	"github.com/stretchr/testify/require"
)

// picture makes a small RGB image whose pixels tell its number.
func picture(w, h, number int) *Image {
	m := raster.New(w, h, 3)
	for i := range m.Pix {
		m.Pix[i] = uint8(number*37 + i%3*50 + i/64)
	}
	return m
}

func pngBytes(t testing.TB, m *Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, png.Encode(&buf, m.Std()))
	return buf.Bytes()
}

func jpegBytes(t testing.TB, m *Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, jpeg.Encode(&buf, m.Std(), &jpeg.Options{Quality: 95}))
	return buf.Bytes()
}

// put writes a file, making its folders.
func put(t testing.TB, data []byte, elem ...string) string {
	t.Helper()
	path := filepath.Join(elem...)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}

// putFolder writes an image folder with n PNG files per class.
func putFolder(t testing.TB, dir string, classes []string, n int) {
	t.Helper()
	for c, class := range classes {
		for i := 0; i < n; i++ {
			put(t, pngBytes(t, picture(8, 6, c*n+i)), dir, class, fmt.Sprintf("img%02d.png", i))
		}
	}
}

// tarFile is one file of a test shard.
type tarFile struct {
	name string
	data []byte
}

func tarBytes(t testing.TB, files ...tarFile) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data)), Typeflag: tar.TypeReg}))
		_, err := w.Write(f.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

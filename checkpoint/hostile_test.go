package checkpoint

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/checkpoint/pickle"
)

// command is what hostile pickles below ask Python to run.
const command = "touch owned"

// program writes a pickle.
type program struct{ pickle.Encoder }

func (p *program) global(module, name string) { p.Global(pickle.Global{Module: module, Name: name}) }

func (p *program) text(s string) {
	if err := p.String(s); err != nil {
		panic(err)
	}
}

// storage writes a reference to a storage.
func (p *program) storage(class, key string, numel int64) {
	p.Mark()
	p.text("storage")
	p.global("torch", class)
	p.text(key)
	p.text("cpu")
	p.Int(numel)
	p.Tuple()
	p.Persistent()
}

// tensor writes a tensor over a storage.
func (p *program) tensor(class, key string, numel, offset int64, shape, strides []int64) {
	p.global("torch._utils", "_rebuild_tensor_v2")
	p.Mark()
	p.storage(class, key, numel)
	p.Int(offset)
	p.Ints(shape)
	p.Ints(strides)
	p.Bool(false)
	p.EmptyTuple()
	p.Tuple()
	p.Reduce()
}

// dictOf writes a pickle of {"a": what write writes}.
func dictOf(write func(p *program)) []byte {
	p := &program{}
	p.Start()
	p.global("collections", "OrderedDict")
	p.EmptyTuple()
	p.Reduce()
	p.Mark()
	p.text("a")
	write(p)
	p.SetItems()
	return p.Bytes()
}

// torchArchive makes a torch.save file of a pickle and one storage, "0".
func torchArchive(pkl, storage []byte) []byte {
	return zipOf(stored("x/data.pkl", pkl), stored("x/data/0", storage), stored("x/version", []byte("3\n")))
}

// part is an entry of a zip file under construction; size and crc are what the directory claims.
type part struct {
	name    string
	method  uint16
	content []byte
	size    uint64
	crc     uint32
}

func stored(name string, content []byte) part {
	return part{name, zip.Store, content, uint64(len(content)), crc32.ChecksumIEEE(content)}
}

func zipOf(parts ...part) []byte {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, p := range parts {
		f, err := w.CreateRaw(&zip.FileHeader{
			Name: p.name, Method: p.method, CRC32: p.crc, CompressedSize64: uint64(len(p.content)), UncompressedSize64: p.size,
		})
		if err != nil {
			panic(err)
		}
		if _, err := f.Write(p.content); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// zeros returns n zeros, deflated.
func zeros(n int) []byte {
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		panic(err)
	}
	chunk := make([]byte, 1<<20)
	for ; n > 0; n -= len(chunk) {
		if _, err := w.Write(chunk[:min(n, len(chunk))]); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// TestHostileTorch feeds files that were made to do harm.
func TestHostileTorch(t *testing.T) {
	four := make([]byte, 16)
	good := dictOf(func(p *program) { p.tensor("FloatStorage", "0", 4, 0, []int64{4}, []int64{1}) })
	tensor := func(class, key string, numel, offset int64, shape, strides []int64) []byte {
		return torchArchive(dictOf(func(p *program) { p.tensor(class, key, numel, offset, shape, strides) }), four)
	}
	overlap := zipOf(stored("x/data/0", nil), stored("x/data.pkl", good))
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"giant shape":             {tensor("FloatStorage", "0", 4, 0, []int64{1 << 40}, []int64{1}), "exceeds storage"},
		"overflowing shape":       {tensor("FloatStorage", "0", 4, 0, []int64{1 << 32, 1 << 32}, []int64{0, 0}), "larger than any memory"},
		"overflowing strides":     {tensor("FloatStorage", "0", 4, 0, []int64{3, 3}, []int64{1 << 62, 1 << 62}), "exceeds storage"},
		"wrapping stride":         {tensor("FloatStorage", "0", 4, 0, []int64{5}, []int64{1 << 62}), "exceeds storage"},
		"overflowing offset":      {tensor("FloatStorage", "0", 4, 1<<62, []int64{1}, []int64{1}), "exceeds storage"},
		"offset past the end":     {tensor("FloatStorage", "0", 4, 4, []int64{1}, []int64{1}), "exceeds storage"},
		"negative offset":         {tensor("FloatStorage", "0", 4, -1, []int64{1}, []int64{1}), "another form"},
		"negative size":           {tensor("FloatStorage", "0", 4, 0, []int64{-4}, []int64{1}), "-4 where a whole number"},
		"negative stride":         {tensor("FloatStorage", "0", 4, 3, []int64{4}, []int64{-1}), "-1 where a whole number"},
		"sizes without strides":   {tensor("FloatStorage", "0", 4, 0, []int64{2, 2}, []int64{2}), "2 sizes but 1 strides"},
		"expanded bomb":           {tensor("FloatStorage", "0", 4, 0, []int64{1 << 30}, []int64{0}), "expands 4 bytes to 4294967296"},
		"65 axes":                 {tensor("FloatStorage", "0", 4, 0, make([]int64, 65), make([]int64, 65)), "more than 64"},
		"storage too large":       {tensor("FloatStorage", "0", 5, 0, []int64{1}, []int64{1}), "its entry has 16"},
		"giant storage":           {tensor("FloatStorage", "0", 1<<62, 0, []int64{1}, []int64{1}), "larger than any memory"},
		"negative storage":        {tensor("FloatStorage", "0", -1, 0, []int64{1}, []int64{1}), "storage reference of another form"},
		"unknown storage":         {tensor("FloatStorage", "1", 4, 0, []int64{1}, []int64{1}), "has no entry"},
		"storage path":            {tensor("FloatStorage", "../data.pkl", 4, 0, []int64{1}, []int64{1}), "has no entry"},
		"storage class":           {tensor("Tensor", "0", 4, 0, []int64{1}, []int64{1}), "is not supported"},
		"quantised storage":       {tensor("QInt8Storage", "0", 4, 0, []int64{1}, []int64{1}), "is not supported"},
		"storage twice":           {torchArchive(dictOf(storageTwice), four), "declared twice"},
		"many views":              {torchArchive(dictOf(manyViews(1<<20, 1000)), make([]byte, 4<<20)), "granted"},
		"no storage":              {torchArchive(dictOf(rebuildWith("text")), four), "another form"},
		"few arguments":           {torchArchive(dictOf(rebuildWith()), four), "want at least 4"},
		"other reference":         {torchArchive(dictOf(func(p *program) { p.Int(1); p.Persistent() }), four), "not a storage"},
		"trailing pickle":         {torchArchive(append(bytes.Clone(good), good...), four), "bytes after its end"},
		"empty pickle":            {torchArchive(nil, four), "ends too early"},
		"no tensors":              {torchArchive(dictOf(func(p *program) { p.Int(1) }), four), "no tensors found"},
		"no data.pkl":             {zipOf(stored("x/data/0", four)), "without data.pkl"},
		"two data.pkl":            {zipOf(stored("x/data.pkl", good), stored("y/data.pkl", good)), "two entries called data.pkl"},
		"data.pkl too deep":       {zipOf(stored("x/y/data.pkl", good)), "without data.pkl"},
		"entry twice":             {zipOf(stored("x/data.pkl", good), stored("x/data.pkl", good)), "appears twice"},
		"parent path":             {zipOf(stored("x/data.pkl", good), stored("../../etc/passwd", four)), "not allowed"},
		"absolute path":           {zipOf(stored("/etc/passwd", four)), "not allowed"},
		"drive":                   {zipOf(stored("c:/x", four)), "not allowed"},
		"backslash":               {zipOf(stored(`..\x`, four)), "not allowed"},
		"byte order":              {zipOf(stored("x/data.pkl", good), stored("x/data/0", four), stored("x/byteorder", []byte("middle"))), "neither little nor big"},
		"method":                  {zipOf(part{"x/data.pkl", 12, good, uint64(len(good)), 0}), "compression method 12"},
		"bomb in data.pkl":        {zipOf(part{"x/data.pkl", zip.Deflate, zeros(200 << 20), 200 << 20, 0}), "granted"},
		"bomb in storage":         {zipOf(stored("x/data.pkl", tensorPickle(50<<20)), part{"x/data/0", zip.Deflate, zeros(200 << 20), 200 << 20, 0}), "granted"},
		"bomb of exabytes":        {zipOf(part{"x/data.pkl", zip.Deflate, zeros(1), 1 << 62, 0}), "granted"},
		"deflate of another size": {zipOf(part{"x/data.pkl", zip.Deflate, zeros(1 << 20), 1000, 0}), "more than its size"},
		"deflate too short":       {zipOf(part{"x/data.pkl", zip.Deflate, zeros(10), 1000, 0}), "inflating"},
		"deflate damaged":         {zipOf(part{"x/data.pkl", zip.Deflate, []byte{0xff, 0xff}, 1000, 0}), "inflating"},
		"stored of another size":  {zipOf(part{"x/data.pkl", zip.Store, good, 1 << 40, 0}), "differ"},
		"wrong checksum":          {zipOf(part{"x/data.pkl", zip.Store, good, uint64(len(good)), 1}), "checksum"},
		"overlapping entries":     {overlapping(good), "overlap"},
		"directory elsewhere":     {patch(overlap, len(overlap)-6, 0xff), "directory at byte"},
		"many entries":            {patch(overlap, len(overlap)-14, 0xff, 0x7f, 0xff, 0x7f), "do not fit"},
		"several parts":           {patch(overlap, len(overlap)-18, 1), "several parts"},
		"encrypted":               {patch(overlap, bytes.LastIndex(overlap, []byte("PK\x01\x02"))+8, 1), "encrypted"},
		"local name":              {patch(overlap, 30, 'y'), "another name"},
		"memory in pickle":        {torchArchive([]byte("\x80\x02("+strings.Repeat("]", 3<<20)), four), "limit exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hostile.pth")
			require.NoError(t, os.WriteFile(path, c.file, 0o600))
			_, err := load(t, path, nil)
			require.ErrorContains(t, err, c.want)
		})
	}
	path := filepath.Join(t.TempDir(), "good.pth")
	require.NoError(t, os.WriteFile(path, torchArchive(good, four), 0o600))
	_, err := load(t, path, nil)
	require.NoError(t, err)
}

func tensorPickle(n int64) []byte {
	return dictOf(func(p *program) { p.tensor("FloatStorage", "0", n, 0, []int64{n}, []int64{1}) })
}

// storageTwice declares one storage as two types.
func storageTwice(p *program) {
	p.tensor("FloatStorage", "0", 4, 0, []int64{1}, []int64{1})
	p.text("b")
	p.tensor("IntStorage", "0", 4, 0, []int64{1}, []int64{1})
}

// manyViews makes count tensors of the whole storage of n floats.
func manyViews(n int64, count int) func(p *program) {
	return func(p *program) {
		for i := range count {
			if i > 0 {
				p.text(fmt.Sprint("a", i))
			}
			p.tensor("FloatStorage", "0", n, 0, []int64{n}, []int64{1})
		}
	}
}

// rebuildWith calls the rebuild function with texts: none, or four times the one given.
func rebuildWith(texts ...string) func(p *program) {
	return func(p *program) {
		p.global("torch._utils", "_rebuild_tensor_v2")
		p.Mark()
		for _, s := range texts {
			for range 4 {
				p.text(s)
			}
		}
		p.Tuple()
		p.Reduce()
	}
}

func patch(file []byte, at int, with ...byte) []byte {
	out := bytes.Clone(file)
	copy(out[at:], with)
	return out
}

// overlapping makes an archive whose second entry lies within the first one's data.
func overlapping(pkl []byte) []byte {
	inner := zipOf(stored("x/data/0", make([]byte, 64)))
	inner = inner[:bytes.Index(inner, []byte("PK\x01\x02"))] // local header and data
	outer := zipOf(stored("x/data.pkl", append(bytes.Clone(pkl), inner...)), stored("x/data/0", make([]byte, 64)))
	// The directory's second entry now points into the first.
	second := bytes.LastIndex(outer, []byte("PK\x01\x02"))
	at := bytes.Index(outer, []byte("PK\x03\x04\x14\x00"))
	at = at + 4 + bytes.Index(outer[at+4:], []byte("PK\x03\x04"))
	binary.LittleEndian.PutUint32(outer[second+42:], uint32(at))
	return outer
}

// TestHostileCallsAreInert puts calls into a state dict: they stay data, whatever they name, and the tensors load.
func TestHostileCallsAreInert(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	four := []byte{0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64, 0, 0, 128, 64}
	for i, call := range []pickle.Global{
		{Module: "os", Name: "system"}, {Module: "posix", Name: "system"}, {Module: "builtins", Name: "eval"},
		{Module: "builtins", Name: "exec"}, {Module: "builtins", Name: "__import__"}, {Module: "builtins", Name: "getattr"},
		{Module: "subprocess", Name: "Popen"}, {Module: "torch", Name: "load"}, {Module: "torch.hub", Name: "load"},
		{Module: "torch.storage", Name: "_load_from_bytes"}, {Module: "webbrowser", Name: "open"},
		{Module: "numpy.testing._private.utils", Name: "runstring"}, {Module: "runpy", Name: "run_path"},
	} {
		pkl := dictOf(func(p *program) {
			p.tensor("FloatStorage", "0", 4, 0, []int64{4}, []int64{1})
			p.text("hostile")
			p.Global(call)
			p.Mark()
			p.text(command)
			p.Tuple()
			p.Reduce()
		})
		path := filepath.Join(dir, fmt.Sprint(i, ".pth"))
		require.NoError(t, os.WriteFile(path, torchArchive(pkl, four), 0o600))
		tensors, err := load(t, path, nil)
		require.NoError(t, err)
		require.Equal(t, []float64{1, 2, 3, 4}, floats(t, tensors, "a"))
		c := open(t, path, nil)
		require.Equal(t, fmt.Sprintf("%s(%q)", call, command), c.Extra["hostile"])
	}
	require.NoFileExists(t, "owned")
}

// TestHostileModules walks pickled modules that contain themselves or nest without end.
func TestHostileModules(t *testing.T) {
	four := make([]byte, 16)
	// x = Module(); x._modules = {"a": x}
	cyclic := []byte("\x80\x02cm\nModule\n)R\x94}(X\x0b\x00\x00\x00_parameters}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00sub.")
	path := filepath.Join(t.TempDir(), "cyclic.pth")
	require.NoError(t, os.WriteFile(path, torchArchive(cyclic, four), 0o600))
	_, err := load(t, path, nil)
	require.ErrorContains(t, err, "nested too deep")

	// Every module holds the next twice: 2^30 paths.
	wide := []byte("\x80\x02N\x940")
	for range 30 {
		wide = append(wide, "cm\nModule\n)R}(X\x0b\x00\x00\x00_parameters}X\x08\x00\x00\x00_modules}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00uubq\x000"...)
	}
	wide = append(wide, "h\x00."...)
	require.NoError(t, os.WriteFile(path, torchArchive(wide, four), 0o600))
	_, err = load(t, path, nil)
	require.Error(t, err)
}

// TestHostileSafetensors feeds headers that ask for memory.
func TestHostileSafetensors(t *testing.T) {
	var many, meta strings.Builder
	many.WriteString("{")
	for i := range maxTensors + 1 {
		fmt.Fprintf(&many, `"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},`, i)
	}
	meta.WriteString(`{"__metadata__":{`)
	for i := range maxTensors + 1 {
		fmt.Fprintf(&meta, `"%d":"",`, i)
	}
	for name, c := range map[string]struct{ header, want string }{
		"many tensors":  {many.String(), "more than 131072 tensors"},
		"many metadata": {meta.String(), "more than 131072 metadata"},
		"long name":     {`{"` + strings.Repeat("a", 40<<20) + `":1}`, "expected '{'"},
		"long escapes":  {`{"` + strings.Repeat(`\u0041`, 8<<20) + `":1}`, "expected '{'"},
		"long shape":    {`{"a":{"shape":[` + strings.Repeat("1,", 10<<20) + `1]}}`, "more than 64"},
		"deep nesting":  {strings.Repeat(`{"a":`, 1<<20), "unknown or repeated field"},
		"spaces":        {"{" + strings.Repeat(" ", 30<<20), "expected"},
	} {
		path := filepath.Join(t.TempDir(), "hostile.safetensors")
		require.NoError(t, os.WriteFile(path, rawSafetensors(c.header, nil), 0o600))
		_, err := load(t, path, nil)
		require.ErrorContains(t, err, c.want, name)
	}
}

// TestInflatedEntries loads an archive that was compressed by another tool.
func TestInflatedEntries(t *testing.T) {
	n := int64(1 << 20)
	pkl := tensorPickle(n)
	file := zipOf(stored("x/data.pkl", pkl),
		part{"x/data/0", zip.Deflate, zeros(int(4 * n)), uint64(4 * n), crc32.ChecksumIEEE(make([]byte, 4*n))})
	path := filepath.Join(t.TempDir(), "small.pth")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	tensors, err := load(t, path, nil)
	require.NoError(t, err)
	a, _ := tensors.Get("a")
	require.EqualValues(t, 4*n, a.NumBytes())
}

// TestBigEndian reads a file as a big-endian machine writes it.
func TestBigEndian(t *testing.T) {
	storage := []byte{0x3f, 0x80, 0, 0, 0x40, 0, 0, 0, 0x40, 0x40, 0, 0, 0xc0, 0, 0, 0}
	pkl := dictOf(func(p *program) { p.tensor("FloatStorage", "0", 4, 0, []int64{2, 2}, []int64{1, 2}) })
	file := zipOf(stored("x/data.pkl", pkl), stored("x/data/0", storage), stored("x/byteorder", []byte("big")))
	path := filepath.Join(t.TempDir(), "big.pth")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	require.Equal(t, []float64{1, 3, 2, -2}, floats(t, open(t, path, nil).Tensors, "a"))
}

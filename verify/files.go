package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/torch"
)

// readJSON reads a whole file into value.
func readJSON(path string, value any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(value); err != nil {
		return fmt.Errorf("%s: %w: damaged?", path, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("%s: content after the end", path)
	}
	return nil
}

// unlisted names the files of a folder that its index does not.
func unlisted(dir string, listed []string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var notes []string
	for _, entry := range entries {
		if name := entry.Name(); !slices.Contains(listed, name) {
			notes = append(notes, filepath.Base(dir)+"/"+name+": not in index.json")
		}
	}
	return notes
}

// reference is an open file of tensors.
type reference struct {
	file   *checkpoint.Checkpoint
	tensor map[string]*checkpoint.Tensor
}

// open reads the file and checks that it has exactly the tensors wanted, in
// their shapes and of one dtype.
func open(path string, want map[string][]int64, dtype checkpoint.DType) (*reference, error) {
	file, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		return nil, err
	}
	r := &reference{file: file, tensor: map[string]*checkpoint.Tensor{}}
	for name, t := range file.Tensors.All() {
		shape, expected := want[name]
		switch {
		case !expected:
			err = fmt.Errorf("unexpected tensor %s", name)
		case t.DType() != dtype || !slices.Equal(t.Shape(), shape):
			err = fmt.Errorf("tensor %s is %v, want %v%s", name, t, dtype, checkpoint.ShapeString(shape))
		}
		r.tensor[name] = t
	}
	for name := range want {
		if r.tensor[name] == nil {
			err = fmt.Errorf("tensor %s is missing", name)
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return r, nil
}

func (r *reference) close() { r.file.Close() }

// described checks the file's own description against the index: every value
// of the metadata is the JSON text of the index's, or a plain string.
func (r *reference) described(index map[string]any) error {
	for key, text := range r.file.Metadata {
		want, listed := index[key]
		if !listed {
			continue
		}
		encoded, err := json.Marshal(want)
		if err != nil {
			return err
		}
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		again, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if !bytes.Equal(encoded, again) {
			return fmt.Errorf("%s is %s in the file and %s in the index", key, text, encoded)
		}
	}
	return nil
}

// values are a tensor's elements as float64.
func (r *reference) values(name string) ([]float64, error) { return r.tensor[name].Float64s() }

var storedTypes = map[checkpoint.DType]gotch.DType{
	checkpoint.F64: gotch.Double, checkpoint.F32: gotch.Float, checkpoint.I64: gotch.Int64,
}

// load brings a tensor to a place, in its dtype.
func (r *reference) load(s *torch.Scope, name string, p place) *ts.Tensor {
	t := r.tensor[name]
	dtype, ok := storedTypes[t.DType()]
	if !ok {
		s.Fail(fmt.Errorf("tensor %s has unsupported dtype %v", name, t.DType()))
		return nil
	}
	x := s.Own(torch.FromBytes(t.Bytes(), dtype, t.Shape()...))
	return s.Clone(s.ToDevice(x, p.device, p.dtype))
}

// limit is what may differ in a place from a reference stored in a dtype,
// relative to its largest magnitude. Not for half precision.
func (p place) limit(stored checkpoint.DType) limit {
	switch {
	case p.dtype == gotch.Float:
		return limit{largest: 1e-5}
	case stored == checkpoint.F64:
		return limit{largest: 1e-10}
	}
	return limit{largest: 2e-7}
}

// trim is a file's name without its ending.
func trim(file string) string { return strings.TrimSuffix(file, ".safetensors") }

// plainName reports whether an index's file name stays in its folder.
func plainName(file string) bool {
	return file != "" && file == filepath.Base(file) && !strings.ContainsAny(file, `/\`)
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

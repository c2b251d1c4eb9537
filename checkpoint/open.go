package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Options says how [Open] reads a checkpoint. Nil and the zero value mean the defaults.
type Options struct {
	// UseEMA takes the averaged weights of a training checkpoint (state_dict_ema and the like) in place of the
	// trained ones; it is an error where there are none.
	UseEMA bool
	// Entry is the path to the weights in a training checkpoint, such as "state_dict" or "models/student". Empty
	// looks for the usual names.
	Entry string
	// KeepPrefix leaves "module." (DistributedDataParallel) and "_orig_mod." (torch.compile) in front of names; by
	// default they go when every name has them.
	KeepPrefix bool
	// KeepLayout leaves HuggingFace's names and splitting of tensors as they are; by default the result has the
	// official repository's layout.
	KeepLayout bool
	// SkipChecksum does not compare checksums, for files that were edited by hand.
	SkipChecksum bool
	// LateChecksum leaves comparing the data of a .safetensors file with its checksum to [Checkpoint.Read], which does
	// it while it copies: the file is gone through once. Until then what tensors hold may be damaged.
	LateChecksum bool
}

// wrapperPrefixes are put in front of every name by wrappers around a model.
var wrapperPrefixes = []string{"module.", "_orig_mod."}

// Open reads the checkpoint at path. What it is shows in the content, never in the name:
//
//   - a .safetensors file;
//   - a file of torch.save: a flat state dict, a training checkpoint around one, or a whole pickled module, zip form or
//     legacy form;
//   - a TorchScript archive, which is what gotch's VarStore.Save writes;
//   - a HuggingFace folder: config.json beside model.safetensors or pytorch_model.bin, in one file or sharded;
//   - an index of shards (model.safetensors.index.json).
//
// Nothing in the file is executed, and opening any file allocates less than twice its size plus 256 MiB; a file of
// stored tensors takes next to nothing. Errors name the file and the place in it.
func Open(path string, opts *Options) (*Checkpoint, error) {
	if opts == nil {
		opts = &Options{}
	}
	info, err := os.Stat(path)
	if err != nil {
		var pathError *os.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	var c *Checkpoint
	if info.IsDir() {
		c, err = openFolder(path, opts)
	} else {
		c, err = openFile(path, opts)
	}
	if err != nil {
		return nil, err
	}
	if !opts.KeepPrefix {
		c.Tensors = stripPrefixes(c.Tensors)
	}
	if !opts.KeepLayout && isHuggingFace(c.Tensors) {
		official, err := FromHuggingFace(c.Tensors)
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
		}
		c.Tensors, c.Layout = official, LayoutHuggingFace
	}
	return c, nil
}

// openFile opens one file, or the shards that it is an index of, without touching names.
func openFile(path string, opts *Options) (*Checkpoint, error) {
	c := &Checkpoint{Path: path}
	file, err := c.mapInto(path)
	if err != nil {
		return nil, err
	}
	index := isShardIndex(file)
	if err := c.Close(); err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	if index {
		return openShards(path, opts)
	}
	return openWeights(path, opts)
}

// openWeights opens one file that holds tensors itself.
func openWeights(path string, opts *Options) (*Checkpoint, error) {
	c := &Checkpoint{Path: path, Layout: LayoutOfficial}
	file, err := c.mapInto(path)
	if err != nil {
		return nil, err
	}
	if err := c.readWeights(file, opts); err != nil {
		c.Close()
		return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return c, nil
}

// readWeights fills c from a file's content.
func (c *Checkpoint) readWeights(file []byte, opts *Options) error {
	switch {
	case len(file) == 0:
		return errors.New("not a checkpoint of a known format: the file is empty")
	case bytes.HasPrefix(file, []byte("PK\x03\x04")), bytes.HasPrefix(file, []byte("PK\x05\x06")):
		return c.readTorch(file, readTorchZip, FormatTorch, opts)
	case isTorchLegacy(file):
		return c.readTorch(file, readTorchLegacy, FormatTorchLegacy, opts)
	case looksLikeSafetensors(file):
		c.Format = FormatSafetensors
		if opts.UseEMA || opts.Entry != "" {
			return errors.New("a safetensors file has one set of weights: none that is averaged besides, and no entries to choose from")
		}
		when := checkNow
		switch {
		case opts.SkipChecksum:
			when = checkNever
		case opts.LateChecksum:
			when = checkLater
		}
		return c.readSafetensors(file, when)
	}
	return fmt.Errorf("not a checkpoint of a known format: %d bytes, starting with % x", len(file), file[:min(len(file), 16)])
}

// looksLikeSafetensors is generous: a damaged header gets the safetensors reader's message.
func looksLikeSafetensors(file []byte) bool {
	if len(file) < 9 {
		return false
	}
	return file[8] == '{' || binary.LittleEndian.Uint64(file) <= uint64(len(file))
}

// readTorch fills c from a torch.save file.
func (c *Checkpoint) readTorch(file []byte, read func([]byte, *Options) (*torchFile, error), format Format, opts *Options) error {
	t, err := read(file, opts)
	if err != nil {
		return err
	}
	c.Format = format
	if t.script {
		c.Format, c.Metadata = FormatTorchScript, t.extra
	}
	named, extra, err := pickWeights(t.root, opts)
	if err != nil {
		return err
	}
	all := make([]*torchTensor, len(named))
	for i, n := range named {
		all[i] = n.tensor
	}
	if err := t.prepare(all); err != nil {
		return err
	}
	c.Extra = extra
	c.Tensors = NewStateDict()
	for _, n := range named {
		tensor, err := n.tensor.resolve(c, t.bigEndian)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", quoteShort(n.name), err)
		}
		c.Tensors.Set(n.name, tensor)
	}
	return nil
}

// stripPrefixes removes wrappers' prefixes while every name has one.
func stripPrefixes(s *StateDict) *StateDict {
	for again := s.Len() > 0; again; {
		again = false
		for _, prefix := range wrapperPrefixes {
			if allHavePrefix(s, prefix) {
				s, again = s.WithPrefix(prefix), true
			}
		}
	}
	return s
}

func allHavePrefix(s *StateDict, prefix string) bool {
	for _, n := range s.names {
		if !strings.HasPrefix(n, prefix) || n == prefix {
			return false
		}
	}
	return true
}

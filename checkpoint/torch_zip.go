package checkpoint

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gonatten/gonatten/checkpoint/pickle"
)

// torchFile is a torch.save file whose pickle has been read.
type torchFile struct {
	root      any
	bigEndian bool
	// script marks TorchScript archives, which gotch's VarStore.Save writes too.
	script bool
	// extra are the files that a TorchScript archive carries along (torch.jit.save's _extra_files), by name.
	extra map[string]string
	// prepare loads the storages that tensors need, checking their checksums on all processors.
	prepare func(tensors []*torchTensor) error
}

// maxExtraFile is the size up to which a script's extra files are read, in bytes.
const maxExtraFile = 16 << 20

// readTorchZip reads the zip form of torch.save (PyTorch 1.6 and newer) and TorchScript archives:
//
//	NAME/data.pkl     the pickle; its storages are named by key
//	NAME/data/KEY     the bytes of a storage
//	NAME/byteorder    "little" or "big"; little where it is missing
//	NAME/constants.pkl, NAME/code/  only in TorchScript archives; not looked into
//	NAME/extra/FILE   files of any content, in TorchScript archives
func readTorchZip(file []byte, opts *Options) (*torchFile, error) {
	entries, err := readZip(file)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*zipEntry, len(entries))
	prefix := ""
	for _, e := range entries {
		byName[e.name] = e
		e.unchecked = opts.SkipChecksum
		if root, ok := strings.CutSuffix(e.name, "data.pkl"); ok && strings.Count(e.name, "/") == 1 && strings.HasSuffix(root, "/") {
			if prefix != "" {
				return nil, errors.New("zip: two entries called data.pkl")
			}
			prefix = root
		}
	}
	if prefix == "" {
		return nil, errors.New("zip archive without data.pkl: not written by torch.save")
	}
	inflate := newBudget(uint64(len(file))/4*5 + slack)
	out := &torchFile{script: byName[prefix+"constants.pkl"] != nil}
	if e := byName[prefix+"byteorder"]; e != nil {
		order, err := e.bytes(inflate)
		if err != nil {
			return nil, err
		}
		switch string(order) {
		case "little":
		case "big":
			out.bigEndian = true
		default:
			return nil, fmt.Errorf("%s is %s, neither little nor big", quoteShort(e.name), quoteShort(string(order)))
		}
	}
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.name, prefix+"extra/"); ok && out.script && e.size <= maxExtraFile {
			content, err := e.bytes(inflate)
			if err != nil {
				return nil, err
			}
			if out.extra == nil {
				out.extra = map[string]string{}
			}
			out.extra[name] = string(content)
		}
	}
	program, err := byName[prefix+"data.pkl"].bytes(inflate)
	if err != nil {
		return nil, err
	}
	reader := newTorchReader(len(file))
	used := make(map[*storage]*zipEntry)
	reader.open = func(s *storage) error {
		e := byName[prefix+"data/"+s.key]
		if e == nil || strings.Contains(s.key, "/") {
			return fmt.Errorf("storage %s has no entry %s", quoteShort(s.key), quoteShort(prefix+"data/"+s.key))
		}
		if uint64(s.bytes) > e.size {
			return fmt.Errorf("storage %s takes %d bytes, its entry has %d", quoteShort(s.key), s.bytes, e.size)
		}
		used[s] = e
		s.load = func() ([]byte, error) { return e.bytes(inflate) }
		return nil
	}
	value, n, err := pickle.Decode(program, reader.config())
	if err != nil {
		return nil, fmt.Errorf("%sdata.pkl: %w", prefix, err)
	}
	if n != int64(len(program)) {
		return nil, fmt.Errorf("%sdata.pkl: %d bytes after its end", prefix, int64(len(program))-n)
	}
	out.root = value
	out.prepare = func(tensors []*torchTensor) error {
		var wanted []*zipEntry
		listed := make(map[*storage]bool)
		for _, t := range tensors {
			if e := used[t.storage]; e != nil && !listed[t.storage] {
				listed[t.storage] = true
				wanted = append(wanted, e)
			}
		}
		return parallel(len(wanted), func(i int) error {
			_, err := wanted[i].bytes(inflate)
			return err
		})
	}
	return out, nil
}

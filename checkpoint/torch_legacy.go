package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/gonatten/gonatten/checkpoint/pickle"
)

// legacyMagic is the number in the first pickle of torch.save files from before PyTorch 1.6.
var legacyMagic, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

// legacyStart is how that pickle begins: PROTO 2, LONG1 of 10 bytes, the number.
var legacyStart = []byte{0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'}

// isTorchLegacy reports whether a file is of the legacy form.
func isTorchLegacy(file []byte) bool { return bytes.HasPrefix(file, legacyStart) }

// readTorchLegacy reads the form of torch.save before PyTorch 1.6 (still written with
// _use_new_zipfile_serialization=False): five pickles (magic number, protocol version, system, the object, the keys of
// its storages), then each storage as its number of elements and its little-endian bytes.
func readTorchLegacy(file []byte, _ *Options) (*torchFile, error) {
	reader := newTorchReader(len(file))
	reader.open = func(*storage) error { return nil } // known only after the pickle
	at := 0
	next := func(what string, cfg pickle.Config) (any, error) {
		v, n, err := pickle.Decode(file[at:], cfg)
		if err != nil {
			return nil, fmt.Errorf("%s, from byte %d: %w", what, at, err)
		}
		at += int(n)
		return v, nil
	}
	magic, err := next("magic number", pickle.Config{})
	if err != nil {
		return nil, err
	}
	if n, ok := magic.(*big.Int); !ok || n.Cmp(legacyMagic) != 0 {
		return nil, errors.New("wrong magic number")
	}
	protocol, err := next("protocol version", pickle.Config{})
	if err != nil {
		return nil, err
	}
	if protocol != int64(1001) {
		return nil, fmt.Errorf("protocol version %v is not 1001", protocol)
	}
	if _, err := next("system information", pickle.Config{}); err != nil {
		return nil, err
	}
	root, err := next("object", reader.config())
	if err != nil {
		return nil, err
	}
	keys, err := next("storage keys", pickle.Config{})
	if err != nil {
		return nil, err
	}
	list, ok := keys.(*pickle.List)
	if !ok {
		return nil, fmt.Errorf("storage keys are a %s, not a list", pickle.TypeName(keys))
	}
	for _, k := range list.Items {
		key, ok := k.(string)
		s := reader.storages[key]
		if !ok || s == nil || s.load != nil {
			return nil, fmt.Errorf("storage key %s is unknown or listed twice", quoteShort(key))
		}
		if at, err = s.readLegacy(file, at); err != nil {
			return nil, err
		}
	}
	if at != len(file) {
		return nil, fmt.Errorf("%d bytes after the last storage", len(file)-at)
	}
	for _, s := range reader.order {
		if s.load == nil {
			return nil, fmt.Errorf("storage %s is not in the file", quoteShort(s.key))
		}
	}
	return &torchFile{root: root, prepare: func([]*torchTensor) error { return nil }}, nil
}

// readLegacy takes the storage's bytes from the file at a byte and returns the byte behind them.
func (s *storage) readLegacy(file []byte, at int) (int, error) {
	if len(file)-at < 8 {
		return 0, fmt.Errorf("storage %s at byte %d: truncated", quoteShort(s.key), at)
	}
	numel := int64(binary.LittleEndian.Uint64(file[at:]))
	at += 8
	if numel != s.bytes/int64(s.dtype.Size()) {
		return 0, fmt.Errorf("storage %s at byte %d has %d elements, the pickle says %d",
			quoteShort(s.key), at, numel, s.bytes/int64(s.dtype.Size()))
	}
	if s.bytes > int64(len(file)-at) {
		return 0, fmt.Errorf("storage %s: %d bytes at byte %d, the file has %d left: truncated",
			quoteShort(s.key), s.bytes, at, len(file)-at)
	}
	data := file[at : at+int(s.bytes)]
	s.load = func() ([]byte, error) { return data, nil }
	return at + int(s.bytes), nil
}

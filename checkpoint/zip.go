package checkpoint

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"sync"
)

// The zip reader below works on the mapped file and hands out stored entries without copying. It is stricter than
// archive/zip, which has to accept archives of every origin: entries must not overlap (overlapping entries are how a
// small zip bomb yields petabytes), must agree with their local headers, and must not have names that could leave a
// folder.
//
// Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.

const (
	zipLocalSig     = 0x04034b50
	zipCentralSig   = 0x02014b50
	zipEndSig       = 0x06054b50
	zip64EndSig     = 0x06064b50
	zip64LocatorSig = 0x07064b50
	zipEndLen       = 22
	zip64LocatorLen = 20
	zip64EndLen     = 56
	zipCentralLen   = 46
	zipLocalLen     = 30
	zipStored       = 0
	zipDeflated     = 8
	// maxZipEntries bounds the memory for the directory; torch.save writes one entry for each storage.
	maxZipEntries = maxTensors
)

// zipEntry is one file of an archive.
type zipEntry struct {
	name   string
	method uint16
	crc    uint32
	size   uint64 // uncompressed
	raw    []byte // as stored
	// begin and end delimit local header and data in the archive.
	begin, end uint64
	// unchecked leaves the checksum alone.
	unchecked bool

	once    sync.Once
	content []byte
	err     error
}

// readZip returns the entries of an archive in the order of its directory.
func readZip(file []byte) ([]*zipEntry, error) {
	dir, count, err := zipDirectory(file)
	if err != nil {
		return nil, err
	}
	if count > maxZipEntries {
		return nil, fmt.Errorf("zip: %d entries, more than %d", count, maxZipEntries)
	}
	if count > uint64(len(dir)/zipCentralLen) {
		return nil, fmt.Errorf("zip: %d entries do not fit the directory's %d bytes", count, len(dir))
	}
	entries := make([]*zipEntry, 0, count)
	seen := make(map[string]bool, count)
	for range count {
		e, rest, err := zipCentralEntry(file, dir)
		if err != nil {
			return nil, fmt.Errorf("zip: directory entry %d: %w", len(entries), err)
		}
		if seen[e.name] {
			return nil, fmt.Errorf("zip: entry %s appears twice", quoteShort(e.name))
		}
		seen[e.name] = true
		entries = append(entries, e)
		dir = rest
	}
	if len(dir) > 0 {
		return nil, fmt.Errorf("zip: %d bytes after the directory's last entry", len(dir))
	}
	return entries, checkZipOverlap(entries)
}

// zipDirectory finds the central directory.
func zipDirectory(file []byte) (dir []byte, count uint64, err error) {
	le := binary.LittleEndian
	// The end record may be followed by a comment of up to 64 KiB.
	at := -1
	for i := len(file) - zipEndLen; i >= 0 && i >= len(file)-zipEndLen-0xffff; i-- {
		if le.Uint32(file[i:]) == zipEndSig && i+zipEndLen+int(le.Uint16(file[i+20:])) == len(file) {
			at = i
			break
		}
	}
	if at < 0 {
		return nil, 0, errors.New("zip: no end record: truncated?")
	}
	end := file[at:]
	if le.Uint16(end[4:]) != le.Uint16(end[6:]) || le.Uint16(end[8:]) != le.Uint16(end[10:]) {
		return nil, 0, errors.New("zip: archives of several parts are not supported")
	}
	count, size, offset := uint64(le.Uint16(end[10:])), uint64(le.Uint32(end[12:])), uint64(le.Uint32(end[16:]))
	limit := uint64(at)
	if at >= zip64LocatorLen && le.Uint32(file[at-zip64LocatorLen:]) == zip64LocatorSig {
		at64 := le.Uint64(file[at-zip64LocatorLen+8:])
		limit = uint64(at - zip64LocatorLen)
		if at64 > limit || limit-at64 < zip64EndLen || le.Uint32(file[at64:]) != zip64EndSig {
			return nil, 0, errors.New("zip: bad zip64 end record")
		}
		limit = at64
		count, size, offset = le.Uint64(file[at64+32:]), le.Uint64(file[at64+40:]), le.Uint64(file[at64+48:])
	}
	if offset > limit || size != limit-offset {
		return nil, 0, fmt.Errorf("zip: directory at byte %d with %d bytes does not end at its end record at byte %d",
			offset, size, limit)
	}
	return file[offset : offset+size], count, nil
}

// zipCentralEntry reads the first entry of dir and its local header.
func zipCentralEntry(file, dir []byte) (e *zipEntry, rest []byte, err error) {
	le := binary.LittleEndian
	if len(dir) < zipCentralLen || le.Uint32(dir) != zipCentralSig {
		return nil, nil, errors.New("truncated or without signature")
	}
	flags := le.Uint16(dir[8:])
	compressed, size := uint64(le.Uint32(dir[20:])), uint64(le.Uint32(dir[24:]))
	nameLen, extraLen, commentLen := int(le.Uint16(dir[28:])), int(le.Uint16(dir[30:])), int(le.Uint16(dir[32:]))
	offset := uint64(le.Uint32(dir[42:]))
	e = &zipEntry{method: le.Uint16(dir[10:]), crc: le.Uint32(dir[16:])}
	total := zipCentralLen + nameLen + extraLen + commentLen
	if total > len(dir) {
		return nil, nil, errors.New("truncated")
	}
	name := dir[zipCentralLen : zipCentralLen+nameLen]
	e.name = string(name)
	if err := checkZipName(e.name); err != nil {
		return nil, nil, err
	}
	extra := dir[zipCentralLen+nameLen : zipCentralLen+nameLen+extraLen]
	if err := zip64Extra(extra, &size, &compressed, &offset); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", quoteShort(e.name), err)
	}
	switch {
	case flags&1 != 0:
		return nil, nil, fmt.Errorf("%s is encrypted", quoteShort(e.name))
	case e.method != zipStored && e.method != zipDeflated:
		return nil, nil, fmt.Errorf("%s uses compression method %d; only stored and deflate are supported",
			quoteShort(e.name), e.method)
	case e.method == zipStored && size != compressed:
		return nil, nil, fmt.Errorf("%s is stored but its sizes %d and %d differ", quoteShort(e.name), size, compressed)
	}
	e.size, e.begin = size, offset
	if err := e.locate(file, name, compressed); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", quoteShort(e.name), err)
	}
	return e, dir[total:], nil
}

// locate finds an entry's data behind its local header.
func (e *zipEntry) locate(file, name []byte, compressed uint64) error {
	le := binary.LittleEndian
	size := uint64(len(file))
	if e.begin > size || size-e.begin < zipLocalLen || le.Uint32(file[e.begin:]) != zipLocalSig {
		return fmt.Errorf("no local header at byte %d", e.begin)
	}
	header := file[e.begin:]
	nameLen, extraLen := uint64(le.Uint16(header[26:])), uint64(le.Uint16(header[28:]))
	data := zipLocalLen + nameLen + extraLen
	if data > uint64(len(header)) || compressed > uint64(len(header))-data {
		return fmt.Errorf("%d bytes at byte %d do not lie in the file: truncated?", compressed, e.begin)
	}
	if !bytes.Equal(header[zipLocalLen:zipLocalLen+nameLen], name) {
		return fmt.Errorf("the local header at byte %d has another name", e.begin)
	}
	e.raw = header[data : data+compressed : data+compressed]
	e.end = e.begin + data + compressed
	return nil
}

// zip64Extra replaces sizes that do not fit 32 bits by those of the extra field with id 1.
func zip64Extra(extra []byte, fields ...*uint64) error {
	le := binary.LittleEndian
	for len(extra) >= 4 {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if n > len(extra)-4 {
			break // some writers pad with zeros that are no field
		}
		body := extra[4 : 4+n]
		extra = extra[4+n:]
		if id != 1 {
			continue
		}
		for _, f := range fields {
			if *f != 0xffffffff {
				continue
			}
			if len(body) < 8 {
				return errors.New("zip64 sizes are missing")
			}
			*f = le.Uint64(body)
			body = body[8:]
		}
	}
	return nil
}

// checkZipName refuses names that would leave a folder when extracted. Nothing is extracted here; such a name still
// shows that the file was made to do harm.
func checkZipName(name string) error {
	if name == "" || strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\:\x00") {
		return fmt.Errorf("name %s is not allowed", quoteShort(name))
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(name, "/"), "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("name %s is not allowed", quoteShort(name))
		}
	}
	return nil
}

func checkZipOverlap(entries []*zipEntry) error {
	order := slices.Clone(entries)
	slices.SortFunc(order, func(a, b *zipEntry) int { return cmp.Compare(a.begin, b.begin) })
	for i := 1; i < len(order); i++ {
		if order[i].begin < order[i-1].end {
			return fmt.Errorf("zip: entries %s and %s overlap", quoteShort(order[i-1].name), quoteShort(order[i].name))
		}
	}
	return nil
}

// bytes returns the entry's content: the mapped bytes of a stored entry, the inflated ones of a compressed entry,
// whose memory is taken from budget. The checksum is compared on the first call. It is safe for concurrent use.
func (e *zipEntry) bytes(budget *budget) ([]byte, error) {
	e.once.Do(func() {
		e.content, e.err = e.read(budget)
		if e.err == nil && !e.unchecked && crc32.ChecksumIEEE(e.content) != e.crc {
			e.err = ErrChecksum
		}
		if e.err != nil {
			e.content, e.err = nil, fmt.Errorf("zip entry %s: %w", quoteShort(e.name), e.err)
		}
	})
	return e.content, e.err
}

func (e *zipEntry) read(budget *budget) ([]byte, error) {
	if e.method == zipStored {
		return e.raw, nil
	}
	if err := budget.take(e.size); err != nil {
		return nil, fmt.Errorf("inflating %d bytes from %d: %w", e.size, len(e.raw), err)
	}
	r := flate.NewReader(bytes.NewReader(e.raw))
	defer r.Close()
	out := make([]byte, e.size)
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, fmt.Errorf("inflating: %w", err)
	}
	if n, _ := r.Read(make([]byte, 1)); n != 0 {
		return nil, errors.New("inflates to more than its size")
	}
	return out, nil
}

// budget bounds memory that a file asks for beyond its own size.
type budget struct {
	mu   sync.Mutex
	left uint64
	all  uint64
}

func newBudget(n uint64) *budget { return &budget{left: n, all: n} }

func (b *budget) take(n uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
		return fmt.Errorf("more than the %d bytes that are granted to a file of this size", b.all)
	}
	b.left -= n
	return nil
}

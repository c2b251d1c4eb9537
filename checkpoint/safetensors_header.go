package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf8"
)

const (
	// maxHeaderSize is the reference implementation's limit on a safetensors header.
	maxHeaderSize = 100_000_000
	// maxTensors bounds what a header of many empty tensors can make a reader allocate. Real checkpoints stay below
	// ten thousand.
	maxTensors = 1 << 17
	// metadataKey is the header entry that holds strings rather than a tensor.
	metadataKey = "__metadata__"
)

// headerEntry is one tensor of a safetensors header: data_offsets count from the end of the header.
type headerEntry struct {
	name       string
	dtype      DType
	shape      []int64
	begin, end int64
}

// headerParser reads the header's JSON straight from the mapped file. encoding/json would silently accept what the
// format forbids (duplicate keys, other letter case) and would need several times the header's size in memory.
type headerParser struct {
	src []byte
	pos int
}

// parseHeader returns the tensors in the header's order and the metadata.
func parseHeader(src []byte) (entries []headerEntry, metadata map[string]string, err error) {
	if !utf8.Valid(src) {
		return nil, nil, fmt.Errorf("header is not UTF-8")
	}
	p := &headerParser{src: src}
	if len(src) == 0 || src[0] != '{' {
		return nil, nil, fmt.Errorf("header does not start with '{'")
	}
	seen := make(map[string]struct{})
	err = p.object(func(key string) error {
		if _, dup := seen[key]; dup {
			return p.errorf("key %s appears twice", quoteShort(key))
		}
		seen[key] = struct{}{}
		if key == metadataKey {
			metadata, err = p.metadata()
			return err
		}
		if len(entries) == maxTensors {
			return p.errorf("more than %d tensors", maxTensors)
		}
		e, err := p.entry()
		if err != nil {
			return fmt.Errorf("tensor %s: %w", quoteShort(key), err)
		}
		e.name = key
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if p.space(); p.pos != len(p.src) {
		return nil, nil, p.errorf("content after the header's end")
	}
	return entries, metadata, nil
}

// metadata reads an object of strings.
func (p *headerParser) metadata() (map[string]string, error) {
	out := make(map[string]string)
	err := p.object(func(key string) error {
		if _, dup := out[key]; dup {
			return p.errorf("metadata key %s appears twice", quoteShort(key))
		}
		if len(out) == maxTensors {
			return p.errorf("more than %d metadata entries", maxTensors)
		}
		value, err := p.string()
		out[key] = value
		return err
	})
	return out, err
}

// entry reads one tensor's description.
func (p *headerParser) entry() (e headerEntry, err error) {
	var hasDType, hasShape, hasOffsets bool
	err = p.object(func(key string) (err error) {
		switch {
		case key == "dtype" && !hasDType:
			hasDType = true
			var name string
			if name, err = p.string(); err != nil {
				return err
			}
			if e.dtype, err = safetensorsDType(name); err != nil {
				return p.errorf("%v", err)
			}
			return nil
		case key == "shape" && !hasShape:
			hasShape = true
			e.shape, err = p.ints(maxRank)
			return err
		case key == "data_offsets" && !hasOffsets:
			hasOffsets = true
			offsets, err := p.ints(2)
			if err != nil {
				return err
			}
			if len(offsets) != 2 {
				return p.errorf("data_offsets has %d numbers, want 2", len(offsets))
			}
			e.begin, e.end = offsets[0], offsets[1]
			return nil
		}
		return p.errorf("unknown or repeated field %s", quoteShort(key))
	})
	if err == nil && !(hasDType && hasShape && hasOffsets) {
		err = p.errorf("dtype, shape or data_offsets is missing")
	}
	return e, err
}

// safetensorsDType returns the type with a name of the format, which has no C128.
func safetensorsDType(name string) (DType, error) {
	for d := DType(1); d < numDType; d++ {
		if dtypeTable[d].safetensors == name && d != C128 {
			return d, nil
		}
	}
	return 0, fmt.Errorf("element type %s is not supported", quoteShort(name))
}

// object reads '{' key ':' value {',' key ':' value} '}', calling value with the parser at each value.
func (p *headerParser) object(value func(key string) error) error {
	if err := p.expect('{'); err != nil {
		return err
	}
	if p.space(); p.peek() == '}' {
		p.pos++
		return nil
	}
	for {
		key, err := p.string()
		if err != nil {
			return err
		}
		if err := p.expect(':'); err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			return nil
		default:
			return p.errorf("expected ',' or '}'")
		}
	}
}

// ints reads an array of at most limit whole numbers >= 0.
func (p *headerParser) ints(limit int) ([]int64, error) {
	if err := p.expect('['); err != nil {
		return nil, err
	}
	out := []int64{}
	if p.space(); p.peek() == ']' {
		p.pos++
		return out, nil
	}
	for {
		if len(out) == limit {
			return nil, p.errorf("more than %d numbers in a list", limit)
		}
		p.space()
		start := p.pos
		for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
			p.pos++
		}
		text := p.src[start:p.pos]
		if len(text) == 0 || len(text) > 20 || (len(text) > 1 && text[0] == '0') {
			return nil, p.errorf("expected a whole number >= 0")
		}
		n, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return nil, p.errorf("number %s is out of range", text)
		}
		out = append(out, n)
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
		case ']':
			p.pos++
			return out, nil
		default:
			return nil, p.errorf("expected ',' or ']'")
		}
	}
}

// string reads a JSON string.
func (p *headerParser) string() (string, error) {
	if err := p.expect('"'); err != nil {
		return "", err
	}
	start, escaped := p.pos, false
	for p.pos < len(p.src) {
		n := bytes.IndexAny(p.src[p.pos:], `"\`)
		if n < 0 {
			break
		}
		p.pos += n
		if p.src[p.pos] == '\\' {
			escaped = true
			p.pos += 2 // the escaped byte cannot end the string
			continue
		}
		p.pos++
		text := p.src[start : p.pos-1]
		if !escaped && !bytes.ContainsFunc(text, unicode.IsControl) {
			return string(text), nil
		}
		var s string
		if err := json.Unmarshal(p.src[start-1:p.pos], &s); err != nil {
			return "", p.errorf("bad string: %v", err)
		}
		return s, nil
	}
	p.pos = len(p.src)
	return "", p.errorf("string does not end")
}

func (p *headerParser) expect(c byte) error {
	p.space()
	if p.peek() != c {
		return p.errorf("expected %q", c)
	}
	p.pos++
	return nil
}

// peek returns the next byte, 0 at the end.
func (p *headerParser) peek() byte {
	if p.pos >= len(p.src) {
		return 0
	}
	return p.src[p.pos]
}

func (p *headerParser) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// errorf names the place as a byte offset from the start of the file (the header follows its 8-byte length).
func (p *headerParser) errorf(format string, args ...any) error {
	return fmt.Errorf("header at byte %d: %w", 8+p.pos, fmt.Errorf(format, args...))
}

// quoteShort quotes text from a file for an error message: control characters escaped, never longer than a line.
func quoteShort(s string) string {
	const limit = 80
	if len(s) > limit {
		return strconv.Quote(s[:limit]) + "..."
	}
	return strconv.Quote(s)
}

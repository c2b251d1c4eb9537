package pickle

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// FuzzDecode looks for panics, and for results that later steps could trip over.
func FuzzDecode(f *testing.F) {
	raw, err := os.ReadFile("testdata/pickles.json")
	if err != nil {
		f.Fatal(err)
	}
	var cases []struct{ Hex string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		data, err := hex.DecodeString(c.Hex)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 1000 {
			f.Add(data)
		}
	}
	f.Add([]byte("]q\x00h\x00a."))
	f.Add([]byte("(cos\nsystem\nX\x02\x00\x00\x00lso}b."))
	cfg := Config{
		Limits:     Limits{Memory: 1 << 20, Stack: 1 << 12},
		Call:       func(class Global, args Tuple) (any, bool, error) { return args, class.Name == "args", nil },
		Persistent: func(id any) (any, error) { return id, nil },
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, n, err := Decode(data, cfg)
		if err != nil {
			if v != nil || n != 0 {
				t.Fatalf("a value or length beside the error %v", err)
			}
			return
		}
		if n <= 0 || n > int64(len(data)) {
			t.Fatalf("length %d of %d bytes", n, len(data))
		}
		// Plain may refuse the value, but must end.
		if _, err := Plain(v); err != nil && len(err.Error()) > 1000 {
			t.Fatalf("error of %d bytes", len(err.Error()))
		}
	})
}

package verify

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// sums.txt has the SHA-256 and path of every data file of the published
// references. Their indexes are not in it: a folder may hold a selection.
//
//go:embed sums.txt
var sumsText string

// checksums makes a job for a folder of published references: one where at
// least half of the files named as they are have their contents. nil for
// other references, which carry no sums.
func checksums(dir, part string) *job {
	var wrong []string
	right := 0
	for line := range strings.Lines(sumsText) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if !strings.HasPrefix(name, part+"/") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if os.IsNotExist(err) {
			continue
		}
		sum := sha256.Sum256(data)
		if err == nil && hex.EncodeToString(sum[:]) == want {
			right++
		} else {
			wrong = append(wrong, name)
		}
	}
	if right == 0 || right < len(wrong) {
		return nil
	}
	return &job{name: part + " checksums", run: func(m *meter) error {
		for _, name := range wrong {
			m.fail("%s: its SHA-256 is not that of the published file: damaged?", name)
		}
		return nil
	}}
}

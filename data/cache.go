package data

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gonatten/gonatten/internal/atomicfile"
)

// Progress is told how a long step is going on: what is done (one short phrase),
// and how many bytes of how many; total is 0 where it is not known. It is called
// from one goroutine at a time, and done == total tells the end.
type Progress func(what string, done, total int64)

// report calls p where there is one.
func (p Progress) report(what string, done, total int64) {
	if p != nil {
		p(what, done, total)
	}
}

// CacheDir returns the folder that fetched data goes to: $GONATTEN_CACHE/data,
// else $XDG_CACHE_HOME/gonatten/data, else $HOME/.cache/gonatten/data. It does
// not make the folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("GONATTEN_CACHE"); dir != "" {
		return filepath.Join(dir, "data"), nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "gonatten", "data"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("data: no cache folder: set GONATTEN_CACHE to a writable folder: %w", err)
	}
	return filepath.Join(home, ".cache", "gonatten", "data"), nil
}

// writeFile copies r into path so that path either holds all of it or does not
// exist.
func writeFile(path string, r io.Reader) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// progressReader reports what is read through it, at most once per step bytes.
type progressReader struct {
	r           io.Reader
	what        string
	done, total int64
	next        int64
	progress    Progress
}

const progressStep = 1 << 20

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.done += int64(n)
	if p.done >= p.next || err == io.EOF {
		p.next = p.done + progressStep
		p.progress.report(p.what, p.done, max(p.total, p.done))
	}
	return n, err
}

// Package atomicfile replaces files in one step: a reader sees either the whole old file or the whole new one, and a
// crash, a full disk or an error in the middle leaves the old file as it was.
//
// The new content goes to a temporary file in the same folder (so that the rename stays on one file system), is
// flushed to the disk, renamed over the target, and the folder is flushed as well, because on Linux a rename is only
// durable once its folder is (see rename(2), fsync(2)).
package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// bufferSize keeps the number of system calls low for writers that emit many small pieces.
const bufferSize = 1 << 20

// defaultMode is the mode of a file that did not exist before, less the process's umask.
const defaultMode fs.FileMode = 0o644

// Write replaces the file at path with what fn writes. A new file gets mode 0644 less the umask, a replaced one keeps
// its mode. When path is a symbolic link, the file it points to is replaced and the link stays.
//
// Every error, fn's included, is returned after the temporary file has been removed; the old file is then untouched.
// fn must not keep w.
func Write(path string, fn func(w io.Writer) error) error {
	return replace(path, func(tmp *os.File) error {
		buf := bufio.NewWriterSize(tmp, bufferSize)
		if err := fn(buf); err != nil {
			return err
		}
		return buf.Flush()
	})
}

// WritePath is Write for what can only write a file by its name: fn is given that of the temporary file.
func WritePath(path string, fn func(temporary string) error) error {
	return replace(path, func(tmp *os.File) error { return fn(tmp.Name()) })
}

// Check reports what would keep Write from starting on the file: to be asked before long work whose result it is to hold.
func Check(path string) error {
	tmp, _, err := create(path)
	if err != nil {
		return err
	}
	_ = tmp.Close()
	return os.Remove(tmp.Name())
}

// create makes the temporary file beside the one that it is to replace.
func create(path string) (tmp *os.File, target string, err error) {
	target = path
	if resolved, linkErr := filepath.EvalSymlinks(path); linkErr == nil {
		target = resolved
	}
	if info, statErr := os.Stat(target); statErr == nil && info.IsDir() {
		return nil, "", fmt.Errorf("atomicfile: write %s: %w", path, syscall.EISDIR)
	}
	dir, base := filepath.Split(target)
	if dir == "" {
		dir = "."
	}
	tmp, err = os.CreateTemp(dir, tempPrefix(base)+"*")
	if err != nil {
		return nil, "", fmt.Errorf("atomicfile: write %s: folder %s: %w", path, filepath.Clean(dir), cause(err))
	}
	return tmp, target, nil
}

func replace(path string, fill func(tmp *os.File) error) (err error) {
	tmp, target, err := create(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(target)
	defer func() {
		if err != nil {
			// The first error is the one to report; a second Close only releases the descriptor.
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
			err = fmt.Errorf("atomicfile: write %s: %w", path, cause(err))
		}
	}()
	if err = fill(tmp); err != nil {
		return err
	}
	if err = tmp.Chmod(modeFor(target)); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), target); err != nil {
		return err
	}
	return syncDir(dir)
}

// cause is what lies behind an error about the temporary file, whose name says nothing to anybody.
func cause(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	}
	return err
}

// WriteFile replaces the file at path with data; see Write.
func WriteFile(path string, data []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// RemoveStale removes temporary files that earlier writers of path left behind because they were killed. Only call it
// where no other writer of path can be alive. It returns the names removed.
func RemoveStale(path string) ([]string, error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("atomicfile: remove stale files of %s: %w", path, err)
	}
	var removed []string
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix(base)) || !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, name)
	}
	return removed, errors.Join(errs...)
}

// tempPrefix begins with a dot: patterns such as *.safetensors must never pick up a half-written file.
func tempPrefix(base string) string { return "." + base + ".tmp-" }

// modeFor returns the mode that the finished file should have.
func modeFor(target string) fs.FileMode {
	if info, err := os.Stat(target); err == nil && info.Mode().IsRegular() {
		return info.Mode().Perm()
	}
	return defaultMode &^ umask()
}

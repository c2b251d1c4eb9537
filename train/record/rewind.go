package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Size is the length of the file in bytes; what has been added so far is on the
// disk when it returns.
func (l *Log) Size() (int64, error) {
	if err := l.file.Sync(); err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	info, err := l.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	return info.Size(), nil
}

// Rewind cuts a file back to a length that Size gave, so that a run can go on
// from there; a shorter or missing file stays as it is.
func Rewind(path string, size int64) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() <= size {
		return nil
	}
	if err == nil {
		err = os.Truncate(path, size)
	}
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

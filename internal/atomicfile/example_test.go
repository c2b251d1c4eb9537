package atomicfile_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gonatten/gonatten/internal/atomicfile"
)

// A write that fails half-way leaves the old file.
func ExampleWrite() {
	dir, err := os.MkdirTemp("", "atomicfile")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "state.json")
	if err := atomicfile.WriteFile(path, []byte("old")); err != nil {
		fmt.Println(err)
		return
	}
	err = atomicfile.Write(path, func(w io.Writer) error {
		if _, err := io.WriteString(w, "half of the n"); err != nil {
			return err
		}
		return errors.New("the source broke")
	})
	content, readErr := os.ReadFile(path)
	fmt.Println(err != nil, string(content), readErr)
	// Output: true old <nil>
}

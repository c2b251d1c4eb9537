//go:build unix

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// syncDir makes a rename inside dir durable. Some network and FUSE file systems cannot flush folders (EINVAL,
// ENOTSUP); there the rename is as durable as that file system allows.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

// umask reads the process's umask once. POSIX offers only set-and-return, so it is set back at once; os.CreateTemp
// uses 0600, which the umask would otherwise never reach.
var umask = sync.OnceValue(func() fs.FileMode {
	old := syscall.Umask(0o077)
	syscall.Umask(old)
	return fs.FileMode(old)
})

//go:build !unix

package atomicfile

import "io/fs"

// syncDir does nothing: folders cannot be flushed here.
func syncDir(string) error { return nil }

func umask() fs.FileMode { return 0 }

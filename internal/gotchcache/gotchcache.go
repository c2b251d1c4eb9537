// Package gotchcache keeps gotch from ending the process at start-up.
//
// gotch makes the folder ~/.cache/gotch (or $GOTCH_CACHE) when it is imported
// and calls log.Fatal where that fails: on a read-only home, in a container
// without HOME, under a service account. Nothing in this project uses that
// folder. Where it cannot be made, this package points GOTCH_CACHE at the
// system's temporary folder, which gotch then finds in place.
//
// Go initialises packages whose dependencies are ready in the order of their
// import paths, so this one comes before github.com/sugarme/gotch.
package gotchcache

import "os"

func init() {
	folder := os.Getenv("GOTCH_CACHE")
	if folder == "" {
		folder = os.Getenv("HOME") + "/.cache/gotch"
	}
	if os.MkdirAll(folder, 0o755) != nil {
		os.Setenv("GOTCH_CACHE", os.TempDir()) //nolint:errcheck // the name and value are valid
	}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		return &cobra.Command{
			Use:   "env",
			Short: "Print the exports with which a Go module builds against this library",
			Long:  "Print the exports (CGO_CXXFLAGS, CGO_LDFLAGS, library paths) with which another Go module\nbuilds against this library: eval \"$(natten env)\"",
			Args:  cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				text, err := environment()
				if err == nil {
					_, err = a.stdout.Write(text)
				}
				return err
			},
		}
	})
}

// environment is the file that the build or the installation left beside this
// program.
func environment() ([]byte, error) {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		return nil, err
	}
	above := filepath.Dir(filepath.Dir(program))
	var tried []string
	for _, place := range []string{"build/env.sh", "share/gonatten/env.sh"} {
		file := filepath.Join(above, place)
		text, err := os.ReadFile(file)
		if err == nil {
			return text, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		tried = append(tried, file)
	}
	return nil, fmt.Errorf("no exports beside this program (looked for %s and %s): build it with make", tried[0], tried[1])
}

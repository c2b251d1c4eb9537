package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		return &cobra.Command{
			Use:   "env",
			Short: "Print the exports with which a Go module builds against this library",
			Long:  "Print the exports (CGO_CXXFLAGS, CGO_LDFLAGS, library paths) with which another Go module\nbuilds against this library: eval \"$(natten env)\". With --json the folders of library paths come\nwithout what the variables hold already.",
			Args:  cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				text, err := environment()
				if err != nil {
					return err
				}
				if a.json {
					return a.emit(exports(string(text)), nil)
				}
				_, err = a.stdout.Write(text)
				return err
			},
		}
	})
}

// exports are the variables that lines such as export NAME="VALUE" set; what a
// value appends of the variable's former one, ${NAME:+:$NAME}, is left out.
func exports(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		assignment, ok := strings.CutPrefix(strings.TrimSpace(line), "export ")
		name, value, assigns := strings.Cut(assignment, "=")
		if ok && assigns {
			value, _, _ = strings.Cut(strings.Trim(value, `"`), "${")
			values[name] = value
		}
	}
	return values
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

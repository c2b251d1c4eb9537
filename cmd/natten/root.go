package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/near"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/progress"
)

// app is what all subcommands share.
type app struct {
	stdout, stderr *os.File

	json    bool
	threads int
	quiet   bool

	bar *progress.Bar
	log *slog.Logger
}

// root assembles the command; each subcommand has its file.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "natten",
		Short:         "Neighborhood attention: train, evaluate, inspect",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			a.start()
			if a.threads < 0 {
				return fmt.Errorf("--threads is %d, want at least 1 (0: libtorch's choice)", a.threads)
			} else if a.threads > 0 {
				return torch.SetThreads(a.threads)
			}
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.BoolVar(&a.json, "json", false, "print one JSON value on standard output")
	flags.IntVar(&a.threads, "threads", 0, "threads inside an operator; 0: libtorch's choice")
	flags.BoolVar(&a.quiet, "quiet", false, "no progress on standard error")
	root.SetGlobalNormalizationFunc(config.Normalize)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(_ *cobra.Command, args []string) error {
			c, _, err := root.Find(args)
			if err != nil {
				return err
			}
			return c.Help()
		},
	})
	for _, add := range subcommands {
		c := add(a)
		if accepts := c.Args; accepts != nil {
			c.Args = func(c *cobra.Command, args []string) error {
				if err := accepts(c, args); err != nil {
					return fmt.Errorf("%w: natten %s", err, c.Use)
				}
				return nil
			}
		}
		root.AddCommand(c)
	}
	return root
}

// flagError adds the nearest flag to the error about one that there is not, and
// says what a number's flag wants.
func flagError(c *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) && errors.As(err, new(*strconv.NumError)) {
		return fmt.Errorf("--%s is %q, want a whole number of moderate size", invalid.GetFlag().Name, invalid.GetValue())
	}
	var absent *pflag.NotExistError
	if !errors.As(err, &absent) {
		return err
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if name := near.Name(absent.GetSpecifiedName(), names); name != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, name)
	}
	return err
}

// changed are those of the flags that the command line sets.
func changed(c *cobra.Command, flags ...string) (given []string) {
	for _, name := range flags {
		if c.Flags().Changed(name) {
			given = append(given, name)
		}
	}
	return given
}

// subcommands are added by their files' init, so that a file is all it takes.
var subcommands []func(*app) *cobra.Command

// start prepares display and log, which share standard error.
func (a *app) start() {
	level := slog.LevelInfo
	var out io.Writer = a.stderr
	if a.quiet {
		level = slog.LevelWarn
	} else {
		a.bar = progress.New(a.stderr)
		out = a.bar
	}
	a.log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime}))
}

func withoutTime(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && (attr.Key == slog.TimeKey || attr.Key == slog.LevelKey && attr.Value.String() == "INFO") {
		return slog.Attr{}
	}
	return attr
}

// emit prints the outcome: as JSON, or as text by the function given.
func (a *app) emit(value any, text func(w io.Writer)) error {
	a.bar.Clear()
	if !a.json {
		text(a.stdout)
		return nil
	}
	out := json.NewEncoder(a.stdout)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(value)
}

// unreadable tells of a picture that another stands in for.
func (a *app) unreadable(e *data.SampleError) {
	a.log.Warn("unreadable image skipped", "image", e.Name, "error", e.Err)
}

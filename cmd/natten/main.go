// Command natten trains, evaluates and inspects neighborhood-attention models.
//
//	natten train                      a small NAT on Fashion-MNIST, in minutes
//	natten train DIR --config x.yml   any model on a folder of images
//	natten predict --checkpoint F PICTURE
//
// `natten help` lists the rest.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/dist"
)

// version is set by the build.
var version = "devel"

func main() {
	restart(os.Args)
	runtime.LockOSThread() // libtorch grows a thread pool per calling thread: let it be one
	os.Exit(execute(os.Args[1:]))
}

// execute runs the command line and returns the exit code: 0, 1 for an error,
// 130 or 143 for a run that SIGINT or SIGTERM ended.
func execute(args []string) int {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		received := <-signals
		signal.Stop(signals) // the second one ends the process at once
		stop(&interruption{received})
	}()
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var interrupted *interruption
	if errors.As(context.Cause(ctx), &interrupted) {
		switch {
		case err == nil:
		case !errors.As(err, new(*dist.LostError)) && errors.Is(err, context.Canceled):
			fmt.Fprintln(os.Stderr, "natten: stopped by", interrupted.signal)
		default: // what went wrong on the way out
			fmt.Fprintln(os.Stderr, "natten:", oneLine(err))
		}
		return 128 + int(interrupted.signal.(syscall.Signal))
	}
	if err != nil {
		if errors.Is(err, models.ErrUnnamed) {
			err = fmt.Errorf("%w (name it with --model)", err)
		}
		fmt.Fprintln(os.Stderr, "natten:", oneLine(err))
		return 1
	}
	return 0
}

// oneLine is an error's text without line breaks.
func oneLine(err error) string {
	var parts []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}

// interruption is why the context of a run ended.
type interruption struct{ signal os.Signal }

func (i *interruption) Error() string { return i.signal.String() }

// Is makes it what it is to those who look for the end of a context.
func (i *interruption) Is(target error) bool { return target == context.Canceled }

package report

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/atomicfile"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/record"
)

// File is the page's name in the run's folder.
const File = "report.html"

// Options of Write. The zero value is fine.
type Options struct {
	Output   string // the page; empty: File in the run's folder
	Mistakes int    // pictures of mistakes; 0: 24, -1: none
	// NoData leaves out what needs the evaluation pictures: confusion matrix and
	// mistakes. They are left out by themselves where the pictures are not there,
	// and the page says why.
	NoData  bool
	OnLack  func(error) error          // told why they are left out by themselves; its error is Write's. nil: nobody
	Device  string                     // as in train.PredictorOptions
	Adapt   func(c *config.Config)     // may say where the data is now; nil: as in the run
	OnBad   func(*data.SampleError)    // told of pictures that cannot be read; nil: nobody
	OnBatch func(images int)           // told the number of pictures evaluated so far; nil: nobody
	Fetch   func(string, int64, int64) // progress of opening the data; nil: silent
}

// run is what a folder says.
type run struct {
	Folder  string
	Config  *config.Config
	Rows    []record.Row
	Summary *train.Summary // nil while the run is going on
}

// Write makes the page and returns its path. A folder without a configuration
// is an error; a run that has not ended gets a page of what there is.
func Write(ctx context.Context, folder string, o Options) (string, error) {
	if o.Mistakes < -1 {
		return "", fmt.Errorf("report: mistakes is %d, want at least -1", o.Mistakes)
	}
	r, err := readRun(folder)
	if err != nil {
		return "", err
	}
	page := newPage(r)
	if !o.NoData {
		if err := page.look(ctx, r, o); err != nil {
			if ctx.Err() != nil {
				return "", fmt.Errorf("report: %w", context.Cause(ctx))
			}
			page.NoPictures = err.Error()
			if o.OnLack != nil {
				if err := o.OnLack(err); err != nil {
					return "", fmt.Errorf("report: %w", err)
				}
			}
		}
	}
	var text bytes.Buffer
	if err := layout.Execute(&text, page); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	path := o.Output
	if path == "" {
		path = filepath.Join(folder, File)
	}
	if err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := text.WriteTo(w)
		return err
	}); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	return path, nil
}

func readRun(folder string) (*run, error) {
	r := &run{Folder: folder, Config: config.Default()}
	text, err := os.ReadFile(filepath.Join(folder, train.ConfigFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("report: %s is not the folder of a run: it has no %s", folder, train.ConfigFile)
	} else if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if err := r.Config.Read(text); err != nil {
		return nil, fmt.Errorf("report: %s: %w", folder, err)
	}
	if r.Rows, err = record.ReadLog(filepath.Join(folder, train.MetricsFile)); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	text, err = os.ReadFile(filepath.Join(folder, train.SummaryFile))
	if err == nil {
		r.Summary = &train.Summary{}
		err = json.Unmarshal(text, r.Summary)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("report: %s: %w", train.SummaryFile, err)
	}
	return r, nil
}

// checkpoint is the file of weights to look at: the best, or the last.
func (r *run) checkpoint() (string, error) {
	for _, name := range []string{train.BestFile, train.LastFile} {
		path := filepath.Join(r.Folder, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("the run has saved no weights yet")
}

// look evaluates the weights and collects what pictures can tell.
func (p *page) look(ctx context.Context, r *run, o Options) error {
	path, err := r.checkpoint()
	if err != nil {
		return err
	}
	model, err := train.OpenPredictor(path, train.PredictorOptions{Device: o.Device})
	if err != nil {
		return err
	}
	defer model.Close()
	c := *r.Config
	c.Offline = true
	if o.Adapt != nil {
		o.Adapt(&c)
	}
	pictures, err := model.OpenData(ctx, &c, o.Fetch)
	if err != nil {
		return err
	}
	defer data.Close(pictures)
	seen := newEvidence(len(pictures.Classes()), max(cmp.Or(o.Mistakes, 24), 0))
	result, err := model.EvaluateOn(ctx, &c, pictures, train.EvaluateOptions{
		OnBatch: func(b *data.Batch, ranked [][]int64, losses []float64) {
			seen.add(b, ranked, losses)
			if o.OnBatch != nil {
				o.OnBatch(seen.images)
			}
		},
		OnBad: o.OnBad,
	})
	if err != nil {
		return err
	}
	p.addEvidence(seen, pictures.Classes(), result)
	return p.addPictures(seen, pictures, model)
}

package train

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/gonatten/gonatten/internal/atomicfile"
	"github.com/gonatten/gonatten/internal/procmem"
)

// Summary is the outcome of a run.
type Summary struct {
	Model      string `json:"model"`
	Parameters int64  `json:"parameters"`
	Folder     string `json:"folder"`
	Checkpoint string `json:"checkpoint"` // the weights to use: the best, or the last where nothing was evaluated
	Curve      string `json:"curve"`
	Samples    string `json:"samples,omitempty"`
	// Evaluated tells whether there was an evaluation.
	Evaluated bool `json:"evaluated"`
	// TestAccuracy is the top-1 accuracy of Checkpoint in percent, BestEpoch the
	// number of whole epochs behind it, BestStep that of steps.
	TestAccuracy    float64 `json:"test_accuracy"`
	TestTop5        float64 `json:"test_top5"`
	BestEpoch       int     `json:"best_epoch"`
	BestStep        int     `json:"best_step"`
	BestPartial     bool    `json:"best_partial,omitempty"` // within an epoch
	Epochs          int     `json:"epochs"`                 // completed
	Steps           int     `json:"steps"`
	ImagesPerSecond float64 `json:"images_per_second"` // of training, evaluation apart
	FLOPsPerImage   float64 `json:"flops_per_image"`   // of training: forward, backward, recomputation
	Seconds         float64 `json:"seconds"`           // all in all
	ResidentBytes   int64   `json:"resident_bytes"`
	Skipped         int     `json:"skipped_steps"` // whose loss or gradients were no finite numbers
	Processes       int     `json:"processes"`
	Reductions      int     `json:"gradient_reductions"` // buckets averaged over the processes
	Rank            int     `json:"rank"`                // of this process; rank 0 has written the files
	Interrupted     bool    `json:"interrupted"`
	StopReason      string  `json:"stop_reason,omitempty"` // what ended it early, or why nothing was left to train
}

// finish writes the summary.
func (r *run) finish() (*Summary, error) {
	at := &r.loop.State
	s := &Summary{
		Model: r.model.Config.Name, Parameters: r.parameters, Folder: r.folder,
		Checkpoint: filepath.Join(r.folder, LastFile), Curve: filepath.Join(r.folder, CurveFile),
		Epochs: at.Epoch, Steps: at.Step, Seconds: r.elapsed().Seconds(),
		Skipped: at.Skipped, Processes: r.world(), Rank: r.rank(), Reductions: r.group.Reductions(),
		ResidentBytes: procmem.Resident(), Interrupted: at.Interrupted, StopReason: at.StopReason,
	}
	if s.Evaluated = r.best != nil; s.Evaluated {
		s.Checkpoint, s.BestEpoch, s.BestStep = filepath.Join(r.folder, BestFile), r.bestEpoch, r.bestStep
		s.BestPartial = r.bestStep%r.loop.StepsPerEpoch() != 0
		s.TestAccuracy, s.TestTop5 = r.best.Top1, r.best.Top5
	}
	if r.trained > 0 {
		s.ImagesPerSecond = float64(r.images) / r.trained.Seconds()
		s.FLOPsPerImage, _ = r.loop.Cost.Of(1, 0)
	}
	if !r.leads() {
		return s, nil
	}
	if r.val != nil {
		s.Samples = filepath.Join(r.folder, SamplesDir)
		if err := saveSamples(s.Samples, r.val, 10); err != nil {
			return nil, err
		}
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = atomicfile.WriteFile(filepath.Join(r.folder, SummaryFile), append(text, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("train: summary: %w", err)
	}
	return s, nil
}

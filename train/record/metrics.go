package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
)

// Row is one measurement. Kind says of what: "train" (a stretch of steps) or
// "eval" (an evaluation); fields that do not apply are left out.
type Row struct {
	Kind  string `json:"kind"`
	Time  string `json:"time"`  // RFC 3339
	Epoch int    `json:"epoch"` // from 0
	Step  int    `json:"step"`  // optimizer steps done
	// Partial tells of an evaluation that it was made within its epoch.
	Partial bool `json:"partial,omitempty"`

	Loss Number `json:"loss"`
	LR   Number `json:"lr,omitzero"`
	// GradNorm is the norm of all gradients together, before clipping.
	GradNorm Number `json:"grad_norm,omitzero"`
	// LossScale is float16's, Overflows the steps left out for it so far.
	LossScale Number `json:"loss_scale,omitzero"`
	Overflows int    `json:"overflows,omitempty"`
	Top1      Number `json:"top1,omitzero"` // percent
	Top5      Number `json:"top5,omitzero"` // percent
	// EMA tells that the averaged weights were evaluated.
	EMA bool `json:"ema,omitempty"`

	Images          int64  `json:"images"`
	ImagesPerSecond Number `json:"images_per_second,omitzero"`
	// FLOPsPerSecond is of training steps, Utilisation (MFU) the share of the
	// device's peak, where that is known.
	FLOPsPerSecond Number `json:"flops_per_second,omitzero"`
	Utilisation    Number `json:"mfu,omitzero"`
	Seconds        Number `json:"seconds,omitzero"`
	ResidentBytes  int64  `json:"resident_bytes,omitempty"`
}

// Number is a float that JSON can hold: NaN and infinities become strings.
type Number float64

// MarshalJSON writes the number, or "NaN", "+Inf" or "-Inf" in quotes.
func (n Number) MarshalJSON() ([]byte, error) {
	if x := float64(n); math.IsNaN(x) || math.IsInf(x, 0) {
		return json.Marshal(fmt.Sprint(x))
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (n *Number) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		x, ok := map[string]float64{"NaN": math.NaN(), "+Inf": math.Inf(1), "-Inf": math.Inf(-1)}[s]
		if !ok {
			return fmt.Errorf("record: %q is no number", s)
		}
		*n = Number(x)
		return nil
	}
	return json.Unmarshal(data, (*float64)(n))
}

// Log appends rows to a file, each as one line that is written at once.
type Log struct{ file *os.File }

// OpenLog opens or makes the file.
func OpenLog(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &Log{f}, nil
}

// Add appends a row.
func (l *Log) Add(r Row) error {
	line, err := json.Marshal(r)
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }

// ReadLog reads the rows of a file. A last line that was cut off (by a crash
// while it was written) is passed over; a missing file has no rows.
func ReadLog(path string) ([]Row, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	defer f.Close()
	var rows []Row
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	var broken error
	for number := 1; lines.Scan(); number++ {
		if broken != nil {
			return nil, broken
		}
		var r Row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			broken = fmt.Errorf("record: %s, line %d: %w", path, number, err)
			continue
		}
		rows = append(rows, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("record: %s: %w", path, err)
	}
	return rows, nil
}

package verify

import (
	"fmt"
	"math"
	"strings"
)

// Case is what came of one reference on one device in one dtype.
type Case struct {
	// Name is the file's path without ending, the device and the dtype:
	// "ops/na1d_00_7_k7_d1_rpb cpu float64".
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// MaxAbs is the largest difference in any of the case's tensors.
	MaxAbs float64 `json:"max_abs"`
	// MaxRel is the largest difference relative to its tensor's largest
	// reference magnitude.
	MaxRel float64 `json:"max_rel"`
	// Share is how much of its limit the tensor that comes nearest to it, named
	// by Worst, takes up; more than 1 fails.
	Share float64 `json:"share"`
	Worst string  `json:"worst,omitempty"`
	// Detail says why a case failed, or what is particular about it.
	Detail string `json:"detail,omitempty"`
}

// String is one line.
func (c Case) String() string {
	verdict := "ok  "
	if !c.OK {
		verdict = "FAIL"
	}
	line := fmt.Sprintf("%s  %-62s max_abs %8.2g  max_rel %8.2g", verdict, c.Name, c.MaxAbs, c.MaxRel)
	if c.MaxAbs == math.MaxFloat64 { // nothing could be compared
		line = fmt.Sprintf("%s  %-62s", verdict, c.Name)
	}
	if c.Worst != "" && c.MaxAbs < math.MaxFloat64 {
		line += fmt.Sprintf("  %3.0f%% of the limit (%s)", 100*c.Share, c.Worst)
	}
	if c.Detail != "" {
		line += "  " + c.Detail
	}
	return line
}

// Report is the result of a run.
type Report struct {
	Cases  []Case `json:"cases"`
	Failed int    `json:"failed"`
	// Skipped names what was found and not run, with the reason.
	Skipped []string `json:"skipped,omitempty"`
}

// Err is nil when no case failed, else an error naming the first of them.
func (r *Report) Err() error {
	for _, c := range r.Cases {
		if !c.OK {
			reason := c.Detail
			if reason == "" {
				reason = fmt.Sprintf("%s has %.3g times the error allowed", c.Worst, c.Share)
			}
			return fmt.Errorf("verify: %d of %d cases failed, the first: %s: %s", r.Failed, len(r.Cases), c.Name, reason)
		}
	}
	return nil
}

func (r *Report) add(c Case) {
	r.Cases = append(r.Cases, c)
	if !c.OK {
		r.Failed++
	}
}

// limit is what a tensor's error may be: of any element relative to the largest
// magnitude, and, unless 0, of all in the root mean square.
type limit struct{ largest, rms float64 }

// meter gathers the differences of one case.
type meter struct {
	maxAbs, maxRel float64
	share          float64 // of its limit, of the worst tensor
	worst          string
	problems       []string
	note           string
}

// compare takes in one tensor. Infinities must be in the same places; a NaN
// never agrees.
func (m *meter) compare(what string, got, want []float64, l limit) {
	if len(got) != len(want) {
		m.fail("%s has %d elements, want %d", what, len(got), len(want))
		return
	}
	e := errorOf(got, want)
	if math.IsInf(e.abs, 1) {
		m.fail("%s has NaN or infinity in other places than the reference", what)
		return
	}
	m.take(what, e, l)
}

// number takes in one number, judged by a size other than its own.
func (m *meter) number(what string, got, want, size float64, l limit) {
	if math.IsNaN(got) || math.IsInf(got, 0) || math.IsNaN(want) {
		m.fail("%s is %v, want %v", what, got, want)
		return
	}
	distance := math.Abs(got - want)
	m.take(what, deviation{abs: distance, largest: distance / size}, l)
}

// take keeps the worst.
func (m *meter) take(what string, e deviation, l limit) {
	m.maxAbs, m.maxRel = max(m.maxAbs, e.abs), max(m.maxRel, e.largest)
	share := e.largest / l.largest
	if l.rms > 0 {
		share = max(share, e.rms/l.rms)
	}
	if m.worst == "" || share > m.share {
		m.share, m.worst = share, what
	}
}

func (m *meter) fail(format string, arguments ...any) {
	m.problems = append(m.problems, fmt.Sprintf(format, arguments...))
}

// result is the case as it stands. Numbers stay finite: JSON has no infinity.
func (m *meter) result(name string) Case {
	c := Case{Name: name, OK: len(m.problems) == 0 && m.share <= 1, MaxAbs: m.maxAbs, MaxRel: m.maxRel,
		Share: m.share, Worst: m.worst, Detail: m.note}
	if len(m.problems) > 0 {
		c.MaxAbs, c.MaxRel, c.Share = math.MaxFloat64, math.MaxFloat64, math.MaxFloat64
		c.Detail = strings.Join(m.problems, "; ")
	}
	return c
}

// deviation is the error of a tensor: its largest, also relative to the largest
// reference magnitude, and its root mean square relative to the reference's.
type deviation struct{ abs, largest, rms float64 }

// errorOf compares tensors of the same size; abs is infinite where NaN or
// infinity do not agree. A reference of zeros is compared absolutely.
func errorOf(got, want []float64) (e deviation) {
	var size, squares, wantSquares float64
	finite := 0
	for i, w := range want {
		switch {
		case math.IsInf(w, 0) && got[i] == w:
		case math.IsInf(w, 0) || math.IsNaN(w) || math.IsNaN(got[i]) || math.IsInf(got[i], 0):
			return deviation{abs: math.Inf(1)}
		default:
			d := math.Abs(got[i] - w)
			e.abs, size = max(e.abs, d), max(size, math.Abs(w))
			squares, wantSquares = squares+d*d, wantSquares+w*w
			finite++
		}
	}
	e.largest, e.rms = e.abs, math.Sqrt(squares/float64(max(finite, 1)))
	if size > 0 {
		e.largest, e.rms = e.abs/size, math.Sqrt(squares/wantSquares)
	}
	return e
}

package verify

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/byrank"
	"github.com/gonatten/gonatten/internal/torch"
)

// tables makes the jobs of windows.json and rejected.json, which may be absent.
// Windows do not depend on the dtype: they run once on each device.
func tables(dir string, places []place) (jobs []job) {
	var windows []windowRow
	if err := readJSON(filepath.Join(dir, "windows.json"), &windows); err == nil {
		for _, p := range exactPlaces(places) {
			jobs = append(jobs, job{fmt.Sprintf("ops/windows %v", p.device), func(m *meter) error {
				for _, row := range windows {
					if err := row.verify(m, p); err != nil {
						return fmt.Errorf("%s: %w", row, err)
					}
				}
				m.note = fmt.Sprintf("%d axes", len(windows))
				return nil
			}})
		}
	} else if !isNotExist(err) {
		jobs = append(jobs, broken("ops/windows", err))
	}

	var rejected []rejection
	if err := readJSON(filepath.Join(dir, "rejected.json"), &rejected); err == nil {
		for _, r := range rejected {
			jobs = append(jobs, job{"ops/rejected: " + r.What, r.verify})
		}
	} else if !isNotExist(err) {
		jobs = append(jobs, broken("ops/rejected", err))
	}
	return jobs
}

// exactPlaces are the first place of each device in float32 or float64: whole
// numbers up to a window's size are exact there.
func exactPlaces(places []place) (first []place) {
	seen := map[torch.Device]bool{}
	for _, p := range places {
		if !p.low() && !seen[p.device] {
			seen[p.device] = true
			first = append(first, p)
		}
	}
	return first
}

// windowRow is one axis of windows.json.
type windowRow struct {
	Length     int64   `json:"length"`
	KernelSize int64   `json:"kernel_size"`
	Dilation   int64   `json:"dilation"`
	IsCausal   bool    `json:"is_causal"`
	Start      []int64 `json:"start"`
	RPBStart   []int64 `json:"rpb_start"`
	Count      []int64 `json:"count"`
}

func (w windowRow) String() string {
	return fmt.Sprintf("length %d, kernel_size %d, dilation %d, is_causal %v", w.Length, w.KernelSize, w.Dilation, w.IsCausal)
}

// verify reads the windows out of the operators. With one-hot values and
// weights 1, 2, 3... the output shows which key each slot has; with a bias of
// 0, 1, 2... and zero queries the logits show which entry each slot reads.
func (w windowRow) verify(m *meter, p place) error {
	n, k := w.Length, w.KernelSize
	if n < 1 || k < 1 || w.Dilation < 1 || int64(len(w.Start)) != n ||
		w.IsCausal && int64(len(w.Count)) != n || !w.IsCausal && int64(len(w.RPBStart)) != n {
		return fmt.Errorf("lists do not fit the length")
	}
	s := torch.NewScope()
	defer s.Close()
	weights, oneHot, entries := make([]float64, n*k), make([]float64, n*n), make([]float64, 2*k-1)
	wantKeys, wantBias := make([]float64, n*n), make([]float64, n*k)
	for i := range n {
		oneHot[i*n+i] = 1
		count := k
		if w.IsCausal {
			count = w.Count[i]
		}
		for t := range k {
			weights[i*k+t] = float64(t + 1)
			if key := w.Start[i] + t*w.Dilation; t < count {
				if key < 0 || key >= n {
					return fmt.Errorf("query %d has a key at %d", i, key)
				}
				wantKeys[i*n+key] = float64(t + 1)
			}
			if !w.IsCausal {
				wantBias[i*k+t] = float64(w.RPBStart[i] + t)
			}
		}
	}
	for i := range entries {
		entries[i] = float64(i)
	}
	tensor := func(data []float64, shape ...int64) *ts.Tensor {
		return s.ToDevice(s.Own(torch.FromSlice(data, shape...)), p.device, p.dtype)
	}
	o := functional.Options{KernelSize: []int64{k}, Dilation: []int64{w.Dilation}, IsCausal: []bool{w.IsCausal}}
	found := results{}
	keys := s.Own(functional.NA1DAV(tensor(weights, 1, n, 1, k), tensor(oneHot, 1, n, 1, n), o))
	found.read(s, "keys", keys, functional.HeadsLast)
	if !w.IsCausal {
		zero := tensor(make([]float64, n), 1, n, 1, 1)
		o.RPB = tensor(entries, 1, 2*k-1)
		found.read(s, "bias", s.Own(functional.NA1DQK(zero, zero, o)), functional.HeadsLast)
	}
	if s.Err() != nil {
		return s.Err()
	}
	exactly := limit{largest: 1e-12}
	m.compare("keys of "+w.String(), found["keys"], wantKeys, exactly)
	if !w.IsCausal {
		m.compare("bias entries of "+w.String(), found["bias"], wantBias, exactly)
	}
	return nil
}

// rejection is an entry of rejected.json: a call that NATTEN 0.17.5 refuses.
type rejection struct {
	What    string                     `json:"what"`
	Rank    int                        `json:"rank"`
	QKShape []int64                    `json:"qk_shape"` // heads first
	Args    map[string]json.RawMessage `json:"args"`
}

// verify makes the call, which must fail with an error, not a crash. Kernels
// of even size and of one key were refused by the reference only; later NATTEN
// releases and this library have the former, this library the latter.
func (r rejection) verify(m *meter) error {
	if r.Rank < 1 || r.Rank > 3 {
		return fmt.Errorf("rank is %d, want 1 to 3", r.Rank)
	}
	s := torch.NewScope()
	defer s.Close()
	o := functional.Options{Layout: functional.HeadsFirst}
	var err error
	allowed := false
	for name, value := range r.Args {
		switch name {
		case "kernel_size":
			o.KernelSize, err = oneOrMany[int64](value)
			allowed = err == nil && len(r.Args) == 1 && r.limitOfReference(o.KernelSize)
		case "dilation":
			o.Dilation, err = oneOrMany[int64](value)
		case "is_causal":
			o.IsCausal, err = oneOrMany[bool](value)
		case "rpb":
			var shape []int64
			if shape, err = oneOrMany[int64](value); err == nil {
				o.RPB = s.Zeros(shape, gotch.Float, torch.CPU)
			}
		default:
			err = fmt.Errorf("unknown argument")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	q := s.Zeros(r.QKShape, gotch.Float, torch.CPU)
	if s.Err() != nil {
		return s.Err()
	}
	logits, refusal := byrank.QK[r.Rank-1](q, q, o)
	if logits != nil {
		logits.MustDrop()
	}
	out, refusalFused := byrank.NA[r.Rank-1](q, q, q, o)
	if out != nil {
		out.MustDrop()
	}
	switch refused := refusal != nil && refusalFused != nil; {
	case allowed && refusal == nil && refusalFused == nil:
		m.note = "allowed here: the reference's limit on kernel sizes does not apply"
	case refused && !allowed:
		m.note = refusalFused.Error()
	case allowed:
		return fmt.Errorf("kernel size should be allowed: %v", refusal)
	default:
		return fmt.Errorf("was accepted")
	}
	return nil
}

// limitOfReference reports whether nothing is wrong with a kernel size but
// that the reference knows only odd ones from 3.
func (r rejection) limitOfReference(kernel []int64) bool {
	if len(kernel) != 1 || len(r.QKShape) != r.Rank+3 {
		return false
	}
	k := kernel[0]
	return k >= 1 && (k == 1 || k%2 == 0) && k <= slices.Min(r.QKShape[2:2+r.Rank])
}

// oneOrMany reads a value or a list of them.
func oneOrMany[T any](text json.RawMessage) ([]T, error) {
	var one T
	if json.Unmarshal(text, &one) == nil {
		return []T{one}, nil
	}
	var many []T
	err := json.Unmarshal(text, &many)
	return many, err
}

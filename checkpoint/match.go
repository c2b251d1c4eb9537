package checkpoint

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Spec is a tensor that a model wants.
type Spec struct {
	Name  string
	Shape []int64
}

// MatchOptions says how [Match] treats differences. Nil and the zero value mean the defaults.
type MatchOptions struct {
	// Strict makes every difference an error: missing and unexpected names, and shapes that differ.
	Strict bool
	// Head lists prefixes of the names of the classifier, which keeps its fresh initialisation when the number of
	// classes differs. Nil means "head.".
	Head []string
	// NewHead leaves the classifier at its fresh initialisation even where it would fit: fine-tuning on other classes
	// that happen to be as many.
	NewHead bool
}

// Change is a tensor whose shape differs between file and model.
type Change struct {
	Name     string
	From, To []int64
}

// Plan says which tensor goes where. It is made before anything is written into a model, so that a file that does not
// fit leaves the model as it was.
type Plan struct {
	Report  Report
	tensors *StateDict
}

// All iterates over the tensors to copy into the model, in the model's order and shapes. A resized tensor is computed
// when its bytes are asked for. Element types are the file's: convert where the model's differ.
func (p *Plan) All() iter.Seq2[string, *Tensor] { return p.tensors.All() }

// Tensors returns the same tensors as a state dict.
func (p *Plan) Tensors() *StateDict { return p.tensors }

// Match compares what a model wants with what a checkpoint has:
//
//   - equal names and shapes are loaded;
//   - a classifier (see MatchOptions.Head) of another number of classes is left at its initialisation;
//   - a relative positional bias (a name ending in "rpb") of as many heads but another kernel is resized, see
//     [ResizeCubic];
//   - an index table that follows from the sizes ("relative_position_index") stays the model's own when it differs;
//   - any other difference in shape is an error, as are all differences with Strict, and a file of which nothing fits.
func Match(want []Spec, have *StateDict, opts *MatchOptions) (*Plan, error) {
	if opts == nil {
		opts = &MatchOptions{}
	}
	head := opts.Head
	if head == nil {
		head = []string{"head."}
	}
	p := &Plan{tensors: NewStateDict()}
	p.Report.Wanted = len(want)
	wanted := make(map[string]bool, len(want))
	var bad []Change
	for _, w := range want {
		if wanted[w.Name] {
			return nil, fmt.Errorf("checkpoint: Match: the model has two tensors called %s", quoteShort(w.Name))
		}
		wanted[w.Name] = true
		t, ok := have.Get(w.Name)
		if !ok {
			p.Report.Missing = append(p.Report.Missing, w.Name)
			continue
		}
		isHead := slices.ContainsFunc(head, func(prefix string) bool { return strings.HasPrefix(w.Name, prefix) })
		change := Change{w.Name, t.Shape(), slices.Clone(w.Shape)}
		same := slices.Equal(t.shape, w.Shape)
		switch {
		case isHead && (opts.NewHead || isNewHead(t.shape, w.Shape)):
			p.Report.Reinitialised = append(p.Report.Reinitialised, change)
		case same:
			p.Report.Loaded = append(p.Report.Loaded, w.Name)
			p.tensors.Set(w.Name, t)
		case strings.HasSuffix(w.Name, "relative_position_index"):
			p.Report.Recomputed = append(p.Report.Recomputed, change)
		case strings.HasSuffix(w.Name, "rpb") && canResize(t, w.Shape):
			p.Report.Resized = append(p.Report.Resized, change)
			p.tensors.Set(w.Name, resizeLater(t, w.Shape))
		default:
			bad = append(bad, change)
		}
	}
	for _, n := range have.Names() {
		if !wanted[n] {
			p.Report.Unexpected = append(p.Report.Unexpected, n)
		}
	}
	return p, p.Report.judge(bad, opts.Strict)
}

// isNewHead reports whether two shapes of a classifier differ in the number of classes alone: the first axis.
func isNewHead(have, want []int64) bool {
	return len(have) == len(want) && len(have) > 0 && have[0] != want[0] && slices.Equal(have[1:], want[1:])
}

// canResize reports whether a bias table can be carried to another kernel: as many axes and heads.
func canResize(t *Tensor, want []int64) bool {
	return t.dtype.IsFloat() && len(t.shape) == len(want) && len(want) > 1 && t.shape[0] == want[0] &&
		t.Numel() > 0 && !slices.Contains(want, 0)
}

// resizeLater is a tensor of the wanted shape whose bytes are resampled from t when they are asked for.
func resizeLater(t *Tensor, shape []int64) *Tensor {
	dtype := F32
	if t.dtype == F64 {
		dtype = F64
	}
	return &Tensor{dtype: dtype, shape: slices.Clone(shape), owner: t.owner, gather: func() []byte {
		out, err := ResizeCubic(t, shape[1:]...)
		if err != nil {
			panic(err) // canResize has ruled this out
		}
		return out.data
	}}
}

// judge turns what cannot be loaded into an error.
func (r *Report) judge(bad []Change, strict bool) error {
	if strict {
		bad = slices.Concat(bad, r.Resized, r.Reinitialised, r.Recomputed)
	}
	var errs []string
	for _, c := range bad {
		errs = append(errs, fmt.Sprintf("%s: the file has shape %s, the model %s",
			quoteShort(c.Name), ShapeString(c.From), ShapeString(c.To)))
	}
	if strict {
		for _, n := range r.Missing {
			errs = append(errs, quoteShort(n)+" is missing in the file")
		}
		for _, n := range r.Unexpected {
			errs = append(errs, quoteShort(n)+" is not in the model")
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("checkpoint: the file does not fit the model: %s", summarise(errs, 5, "; "))
	}
	if len(r.Loaded)+len(r.Resized) == 0 && r.Wanted > 0 {
		return fmt.Errorf("checkpoint: none of the file's tensors (%s) is among the model's %d: another architecture?",
			summarise(r.Unexpected, 3, ", "), r.Wanted)
	}
	return nil
}

// summarise joins the first few of a list and counts the rest.
func summarise(items []string, limit int, sep string) string {
	if len(items) == 0 {
		return "none"
	}
	if len(items) <= limit {
		return strings.Join(items, sep)
	}
	return fmt.Sprintf("%s%sand %d more", strings.Join(items[:limit], sep), sep, len(items)-limit)
}

package checkpoint

import (
	"fmt"
	"strings"
)

// Report lists how a checkpoint met a model.
type Report struct {
	// Wanted is the number of the model's tensors.
	Wanted int
	// Loaded are copied as they are.
	Loaded []string
	// Resized are relative positional biases of another kernel size, resampled bicubically.
	Resized []Change
	// Reinitialised belong to a classifier of another number of classes; the model keeps its fresh ones.
	Reinitialised []Change
	// Recomputed are index tables that follow from the model's sizes; the model keeps its own.
	Recomputed []Change
	// Missing are wanted but not in the file; the model keeps its fresh ones.
	Missing []string
	// Unexpected are in the file but not wanted.
	Unexpected []string
}

// Complete reports whether every tensor of the model was loaded as it is and none of the file's was left over.
func (r *Report) Complete() bool { return len(r.Loaded) == r.Wanted && len(r.Unexpected) == 0 }

// String returns one line, such as
// "loaded 95 of 97 tensors; head re-initialised (10 -> 5 classes); 3 missing: a, b, c".
func (r *Report) String() string {
	parts := []string{fmt.Sprintf("loaded %d of %d tensors", len(r.Loaded)+len(r.Resized), r.Wanted)}
	if c := r.Reinitialised; len(c) > 0 {
		if len(c[0].From) > 0 && len(c[0].To) > 0 && c[0].From[0] != c[0].To[0] {
			parts = append(parts, fmt.Sprintf("head re-initialised (%d -> %d classes)", c[0].From[0], c[0].To[0]))
		} else {
			parts = append(parts, "head re-initialised")
		}
	}
	if c := r.Resized; len(c) > 0 {
		parts = append(parts, fmt.Sprintf("%d rpb resized bicubically (%s)", len(c), sizeChanges(c)))
	}
	if n := len(r.Recomputed); n > 0 {
		parts = append(parts, fmt.Sprintf("%d index tables recomputed", n))
	}
	if n := len(r.Missing); n > 0 {
		parts = append(parts, fmt.Sprintf("%d missing: %s", n, summarise(r.Missing, 3, ", ")))
	}
	if n := len(r.Unexpected); n > 0 {
		parts = append(parts, fmt.Sprintf("%d unexpected: %s", n, summarise(r.Unexpected, 3, ", ")))
	}
	return strings.Join(parts, "; ")
}

// sizeChanges lists the distinct changes of a table's axes behind the heads, as "13x13 -> 21x21".
func sizeChanges(changes []Change) string {
	var out []string
	seen := make(map[string]bool)
	for _, c := range changes {
		text := sizes(c.From[1:]) + " -> " + sizes(c.To[1:])
		if !seen[text] {
			seen[text] = true
			out = append(out, text)
		}
	}
	return summarise(out, 3, ", ")
}

func sizes(shape []int64) string {
	return strings.ReplaceAll(strings.Trim(ShapeString(shape), "[]"), ",", "x")
}

// Listing returns the whole report, a line for each tensor that was not simply loaded, after the line of String.
func (r *Report) Listing() string {
	var b strings.Builder
	b.WriteString(r.String() + "\n")
	for _, group := range []struct {
		title   string
		changes []Change
	}{{"resized", r.Resized}, {"re-initialised", r.Reinitialised}, {"recomputed", r.Recomputed}} {
		for _, c := range group.changes {
			fmt.Fprintf(&b, "  %-14s %s %s -> %s\n", group.title, c.Name, ShapeString(c.From), ShapeString(c.To))
		}
	}
	for _, group := range []struct {
		title string
		names []string
	}{{"missing", r.Missing}, {"unexpected", r.Unexpected}} {
		for _, n := range group.names {
			fmt.Fprintf(&b, "  %-14s %s\n", group.title, n)
		}
	}
	return b.String()
}

package flops

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// String is the summary, the table by operator and the tree of modules down to
// three levels.
func (r *Report) String() string {
	return r.Summary() + "\n" + r.Table() + "\n" + r.Tree(3)
}

// Summary is the totals, and what they lack.
func (r *Report) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %sMACs (%s), %sFLOPs, %s parameters, %s activations, %sB moved, %.1f FLOP/B\n", r.Model,
		metric(r.MACs), r.Convention, metric(r.FLOPs), strings.TrimSpace(metric(r.Parameters)),
		strings.TrimSpace(metric(r.Activations)), metric(r.Bytes), r.Intensity())
	list := func(title string, calls map[string]int) {
		if len(calls) == 0 {
			return
		}
		var items []string
		for _, name := range slices.Sorted(maps.Keys(calls)) {
			items = append(items, fmt.Sprintf("%s (%d)", name, calls[name]))
		}
		fmt.Fprintf(&b, "%s: %s\n", title, strings.Join(items, ", "))
	}
	list("NOT COUNTED, no formula known: the totals lack these operators", r.Unsupported)
	list("no MACs by "+r.Convention.String(), r.Uncounted)
	list("shapes found by computing on zeros", r.Computed)
	if len(r.Uncalled) > 0 {
		fmt.Fprintf(&b, "never called: %s\n", strings.Join(r.Uncalled, ", "))
	}
	return b.String()
}

// Table is the account by operator.
func (r *Report) Table() string {
	t := table{{"operator", "calls", "MACs", "%", "FLOPs", "bytes", "FLOP/B"}}
	for _, op := range r.Operators {
		if op.MACs != 0 || op.FLOPs != 0 {
			t = append(t, append([]string{op.Name, fmt.Sprint(op.Calls)}, r.columns(op.Totals)...))
		}
	}
	t = append(t, append([]string{"total", fmt.Sprint(r.Calls)}, r.columns(r.Totals)...))
	return t.String()
}

// Tree is the account by module down to a depth, 0 for all.
func (r *Report) Tree(depth int) string {
	t := table{{"module", "parameters", "MACs", "%", "FLOPs", "bytes", "FLOP/B"}}
	r.Root.walk(func(m *Module, level int) {
		if depth > 0 && level > depth {
			return
		}
		name := r.Model
		if m.Name != "" {
			name = strings.Repeat("  ", level) + m.Name[strings.LastIndexByte(m.Name, '.')+1:]
		}
		t = append(t, append([]string{name, metric(m.Parameters)}, r.columns(m.Totals)...))
	})
	return t.String()
}

func (r *Report) columns(t Totals) []string {
	share := 0.0
	if r.MACs > 0 {
		share = 100 * float64(t.MACs) / float64(r.MACs)
	}
	return []string{metric(t.MACs), fmt.Sprintf("%.1f", share), metric(t.FLOPs), metric(t.Bytes),
		fmt.Sprintf("%.1f", t.Intensity())}
}

// table is rows of cells, the first a heading; its first column is left-aligned
// and the others right.
type table [][]string

func (t table) String() string {
	widths := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			widths[i] = max(widths[i], len(strings.TrimRight(cell, " ")))
		}
	}
	var b strings.Builder
	for _, row := range t {
		fmt.Fprintf(&b, "%-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			fmt.Fprintf(&b, "  %*s", widths[i+1], strings.TrimRight(cell, " "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// metric writes a count with four digits and an SI prefix, "2.711 G", and small
// ones as they are.
func metric(n int64) string {
	value := math.Abs(float64(n))
	if value < 1e4 {
		return fmt.Sprintf("%d ", n)
	}
	for _, unit := range []struct {
		size float64
		name string
	}{{1e18, "E"}, {1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if value >= unit.size {
			return fmt.Sprintf("%.4g %s", float64(n)/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d ", n)
}

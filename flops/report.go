package flops

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Totals is a sum over operator calls.
type Totals struct {
	Calls       int
	MACs        int64 // by the report's convention
	FLOPs       int64 // single operations, under every convention alike
	Bytes       int64 // read and written, each argument and result once per call
	Activations int64 // elements of the results of linear, convolution and matrix product calls
}

// Intensity is the arithmetic intensity: FLOPs per byte, 0 where nothing moves.
func (c Totals) Intensity() float64 {
	if c.Bytes == 0 {
		return 0
	}
	return float64(c.FLOPs) / float64(c.Bytes)
}

func (c *Totals) add(other Totals) {
	c.Calls += other.Calls
	c.MACs += other.MACs
	c.FLOPs += other.FLOPs
	c.Bytes += other.Bytes
	c.Activations += other.Activations
}

// Operator is a kind of operator in a report.
type Operator struct {
	Name string // "linear", "conv", "na2d_qk", "mylib::op"
	Totals
}

// Module is a node of the tree of modules; its count holds its children's.
type Module struct {
	Name string // full: "levels.0.blocks.1.attn"; "" for the model
	Totals
	Parameters int64 // elements, those of its children included
	Children   []*Module
}

// Report is the account of one count.
type Report struct {
	Model      string
	Convention Convention
	Parameters int64 // elements of all parameters, buffers not among them
	Totals
	// Operators, most MACs first, then most FLOPs.
	Operators []Operator
	// Root is the model with its modules in the order of their first call.
	Root *Module
	// Unsupported operators have no handler: the totals lack them. Calls by name.
	Unsupported map[string]int
	// Uncounted operators get no MACs by the convention, though they compute.
	Uncounted map[string]int
	// Computed operators could not run on shapes alone and ran on zeros.
	Computed map[string]int
	// Uncalled modules have parameters that no operator consumed.
	Uncalled []string
	// Attention lists the calls of neighborhood attention in the forward pass.
	Attention []Attention
}

// Module finds a module by its full name, nil where there is none.
func (r *Report) Module(name string) *Module { return r.Root.find(name) }

// Operator finds an operator's sum by its name; the zero Operator where it was
// not called.
func (r *Report) Operator(name string) Operator {
	for _, op := range r.Operators {
		if op.Name == name {
			return op
		}
	}
	return Operator{Name: name}
}

// Modules lists the modules of the tree, each before its children.
func (r *Report) Modules() []*Module {
	var list []*Module
	r.Root.walk(func(m *Module, _ int) { list = append(list, m) })
	return list
}

func (m *Module) walk(visit func(m *Module, depth int)) { m.walkFrom(visit, 0) }

func (m *Module) walkFrom(visit func(m *Module, depth int), depth int) {
	visit(m, depth)
	for _, child := range m.Children {
		child.walkFrom(visit, depth+1)
	}
}

func (m *Module) find(name string) *Module {
	if m.Name == name {
		return m
	}
	for _, child := range m.Children {
		if child.Name == name || strings.HasPrefix(name, child.Name+".") {
			return child.find(name)
		}
	}
	return nil
}

// child is the module of that full name below m, made where it is missing.
func (m *Module) child(name string) *Module {
	for _, c := range m.Children {
		if c.Name == name {
			return c
		}
	}
	c := &Module{Name: name}
	m.Children = append(m.Children, c)
	return c
}

// path calls visit on every module from the root to that name.
func (m *Module) path(name string, visit func(*Module)) {
	visit(m)
	for i := 0; i < len(name); {
		end := strings.IndexByte(name[i:], '.')
		if end < 0 {
			end = len(name) - i
		}
		m = m.child(name[:i+end])
		visit(m)
		i += end + 1
	}
}

// parameter is what a report needs to know of one.
type parameter struct {
	name     string
	elements int64
	buffer   bool
}

func (r *row) totals() Totals {
	return Totals{Calls: 1, MACs: r.cost.MACs, FLOPs: r.cost.FLOPs, Bytes: r.cost.Bytes, Activations: r.activations}
}

// report sums the account up.
func (a *account) report(model string, parameters []parameter) *Report {
	r := &Report{Model: model, Convention: a.convention, Root: &Module{},
		Unsupported: a.unsupported, Uncounted: a.uncounted, Computed: a.computed}
	operators := map[string]*Operator{}
	for _, row := range a.rows {
		count := row.totals()
		op := operators[row.label]
		if op == nil {
			op = &Operator{Name: row.label}
			operators[row.label] = op
		}
		op.add(count)
		r.Root.path(row.module, func(m *Module) { m.add(count) })
	}
	for _, name := range slices.Sorted(maps.Keys(operators)) {
		r.Operators = append(r.Operators, *operators[name])
	}
	slices.SortStableFunc(r.Operators, func(x, y Operator) int {
		return cmp.Or(cmp.Compare(y.MACs, x.MACs), cmp.Compare(y.FLOPs, x.FLOPs))
	})
	a.addParameters(r, parameters)
	a.addAttention(r)
	r.Totals, r.Parameters = r.Root.Totals, r.Root.Parameters
	return r
}

// addParameters hangs the parameters into the tree and lists the modules that
// own some of which none was consumed.
func (a *account) addParameters(r *Report, parameters []parameter) {
	used := a.namesUsed()
	owners := map[string]bool{} // module: some parameter of its own was consumed
	var order []string
	for _, p := range parameters {
		if p.buffer {
			continue
		}
		owner := parent(p.name)
		if _, ok := owners[owner]; !ok {
			order = append(order, owner)
		}
		owners[owner] = owners[owner] || used[p.name]
		r.Root.path(owner, func(m *Module) { m.Parameters += p.elements })
	}
	for _, owner := range order {
		if !owners[owner] && owner != "" {
			r.Uncalled = append(r.Uncalled, owner)
		}
	}
	slices.Sort(r.Uncalled)
}

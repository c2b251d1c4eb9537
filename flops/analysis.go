package flops

import (
	"slices"
	"strings"

	"github.com/gonatten/gonatten/internal/torch"
)

// row is one line of the account: an operator call, or one part of a fused one.
type row struct {
	label       string
	node        int // index of the call in the recording
	module      string
	cost        Cost
	activations int64
	backward    bool // ran inside a backward pass
}

// account walks a recording. Operators with a handler are counted whole; those
// without, but made of others, by their parts.
type account struct {
	nodes      []torch.Node
	children   [][]int
	convention Convention
	table      map[string]Handler // the convention's, nil for Exact
	own        map[string]Handler // the user's
	variables  map[string]bool    // names of the model's parameters and buffers

	rows        []row
	uncounted   map[string]int // known, left out by the convention
	unsupported map[string]int // nobody has a formula
	computed    map[string]int // ran on zeros
}

func newAccount(nodes []torch.Node, convention Convention, own map[string]Handler, variables []torch.Named) *account {
	a := &account{nodes: nodes, convention: convention, table: convention.table(), own: own,
		variables: map[string]bool{},
		children:  make([][]int, len(nodes)), uncounted: map[string]int{}, unsupported: map[string]int{},
		computed: map[string]int{}}
	for _, v := range variables {
		a.variables[v.Name] = true
	}
	for i, n := range nodes {
		if n.Flags&torch.FlagComputed != 0 {
			name, _ := splitName(n.Op)
			a.computed[name]++
		}
		if n.Parent >= 0 {
			a.children[n.Parent] = append(a.children[n.Parent], i)
		}
	}
	for i, n := range nodes {
		if n.Parent < 0 {
			a.visit(i, false)
		}
	}
	return a
}

// containers run other operators without being made of them.
var containers = set("_backward")

// visit counts one call. flopsOnly: the convention has spoken already, and what
// is below adds no MACs.
func (a *account) visit(i int, flopsOnly bool) {
	op := opOf(&a.nodes[i])
	if h, ok := lookup(a.own, op.Name); ok {
		a.add(i, op, h(op), flopsOnly)
		return
	}
	whole, known := lookup(exact, op.Name)
	if a.table == nil || flopsOnly {
		switch {
		case known:
			a.add(i, op, whole(op), flopsOnly)
		case !a.isFree(i, op) && !a.descend(i, flopsOnly):
			a.unsupported[op.Name]++
		}
		return
	}
	counted, ok := lookup(a.table, op.Name)
	if ok && a.isDense(op) {
		counted = nattenDense
	}
	switch {
	case ok && known:
		a.add(i, op, withFLOPs(counted, whole)(op), false)
	case ok:
		cost := counted(op)
		cost.FLOPs = 0
		a.add(i, op, cost, false)
		a.descend(i, true)
	case containers[op.Name] || !strings.HasPrefix(op.Name, "aten::") && a.isComposite(i):
		a.descend(i, false)
	default:
		a.leaveOut(i, op)
	}
}

// isDense tells the attention of the ViT-rpb models, which the official code
// writes with two matrix products, from neighborhood attention that happens to
// see the whole map: the official state dict has the buffer
// relative_position_index beside its bias.
func (a *account) isDense(op *Op) bool {
	if op.Name != "natten::na" || !op.Has(3) {
		return false
	}
	module, ok := strings.CutSuffix(op.Tensor(3).Name, "rpb")
	return ok && a.variables[module+"relative_position_index"]
}

// leaveOut counts the FLOPs of a call to which the convention gives no MACs.
func (a *account) leaveOut(i int, op *Op) {
	before := len(a.rows)
	a.visit(i, true)
	var flops int64
	for _, r := range a.rows[before:] {
		flops += r.cost.FLOPs
	}
	if flops > 0 && !fvcoreIgnored[op.Name] {
		a.uncounted[op.Name]++
	}
}

// isFree notes what a free operator moves.
func (a *account) isFree(i int, op *Op) bool {
	name := op.Name
	if views[name] || views[strings.TrimSuffix(name, "_")] {
		return true
	}
	if free[name] || free[strings.TrimSuffix(name, "_")] {
		a.add(i, op, Cost{}, false)
		return true
	}
	return false
}

// isComposite tells whether a call is made of the calls inside it. One that may
// also compute by itself must have called something that computes.
func (a *account) isComposite(i int) bool {
	flags := a.nodes[i].Flags
	if flags&(torch.FlagDecomposes|torch.FlagAutograd) != 0 {
		return true
	}
	if flags&torch.FlagComposite == 0 {
		return false
	}
	return slices.ContainsFunc(a.children[i], func(child int) bool {
		name, _ := splitName(a.nodes[child].Op)
		return !free[name] && !views[name]
	})
}

// descend counts a call by its parts; false where it has none that make it up.
func (a *account) descend(i int, flopsOnly bool) bool {
	name, _ := splitName(a.nodes[i].Op)
	if !a.isComposite(i) && !containers[name] {
		return false
	}
	for _, child := range a.children[i] {
		a.visit(child, flopsOnly)
	}
	return true
}

func (a *account) add(i int, op *Op, cost Cost, flopsOnly bool) {
	name := strings.TrimPrefix(op.Name, "aten::")
	if cost.Label == "" {
		cost.Label = strings.TrimSuffix(name, "_")
	}
	split := len(cost.Parts) > 0
	for n, part := range cost.rows() {
		r := row{label: part.Label, node: i, cost: part}
		if r.label == "" {
			r.label = cost.Label
		}
		if flopsOnly {
			r.cost.MACs = 0
		}
		if !split && part.Bytes == 0 {
			r.cost.Bytes = op.bytes()
		}
		if n == 0 && producesActivations[op.Name] {
			r.activations = op.OutNumel(0)
		}
		a.rows = append(a.rows, r)
	}
}

// producesActivations is the set of fvcore's ActivationCountAnalysis: the
// elements of these operators' results are the activations.
var producesActivations = set("linear", "addmm", "bmm", "matmul", "einsum", "conv1d", "conv2d", "conv3d",
	"conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution")

// opOf is a recorded call as handlers see it.
func opOf(n *torch.Node) *Op {
	op := &Op{Inputs: convert(n.Inputs), Outputs: convert(n.Outputs)}
	op.Name, op.Overload = splitName(n.Op)
	return op
}

func convert(list []any) []any {
	converted := make([]any, len(list))
	for i, v := range list {
		switch t := v.(type) {
		case *torch.Value:
			converted[i] = tensorOf(t)
		case []*torch.Value:
			tensors := make([]*Tensor, len(t))
			for j, item := range t {
				if item != nil {
					tensors[j] = tensorOf(item)
				}
			}
			converted[i] = tensors
		default:
			converted[i] = v
		}
	}
	return converted
}

func tensorOf(v *torch.Value) *Tensor {
	return &Tensor{Shape: v.Shape, DType: v.DType, ElementSize: v.ElementSize, Name: v.Name}
}

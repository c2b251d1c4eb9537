package flops

import (
	"strings"

	"github.com/gonatten/gonatten/internal/torch"
)

// assign gives every row the module it belongs to:
//
//   - an operator that consumes a parameter belongs to the parameter's module;
//   - one inside a layer that named itself belongs to that layer;
//   - any other belongs to the innermost module that holds both the module of
//     the row before and that of the row after it: the activation between
//     "mlp.fc1" and "mlp.fc2" to "mlp", the one between "conv1" and "conv2" to
//     the model itself.
//
// What runs in a backward pass belongs where its forward operator does.
func (a *account) assign() {
	const unknown = "\x00"
	inBackward, autogradNode := a.backwardNodes()
	for r := range a.rows {
		row := &a.rows[r]
		row.backward = inBackward[row.node]
		row.module = unknown
		if !row.backward {
			row.module = a.moduleOf(row.node, unknown)
		}
	}
	a.infer(unknown)
	bySequence := a.sequenceModules(inBackward)
	for r := range a.rows {
		row := &a.rows[r]
		if !row.backward {
			continue
		}
		row.module = ""
		if n := autogradNode[row.node]; n >= 0 {
			row.module = bySequence[a.nodes[n].Sequence]
		}
	}
}

// moduleOf is what the call itself tells, or unknown.
func (a *account) moduleOf(node int, unknown string) string {
	for _, input := range a.nodes[node].Inputs {
		if v, ok := input.(*torch.Value); ok && v.Name != "" {
			return parent(v.Name)
		}
	}
	if module := a.nodes[node].Module; module != "" {
		return module
	}
	return unknown
}

// infer fills in forward rows from their neighbours.
func (a *account) infer(unknown string) {
	next := make([]string, len(a.rows)) // module of the first known row after each
	following := unknown
	for r := len(a.rows) - 1; r >= 0; r-- {
		next[r] = following
		if !a.rows[r].backward && a.rows[r].module != unknown {
			following = a.rows[r].module
		}
	}
	previous := unknown
	for r := range a.rows {
		row := &a.rows[r]
		if row.backward {
			continue
		}
		if row.module != unknown {
			previous = row.module
			continue
		}
		row.module = ""
		if previous != unknown && next[r] != unknown {
			row.module = commonModule(previous, next[r])
		}
	}
}

// backwardNodes tells which calls run in a backward pass, and inside which node
// of the backward graph (-1: none).
func (a *account) backwardNodes() (inside []bool, autograd []int) {
	inside, autograd = make([]bool, len(a.nodes)), make([]int, len(a.nodes))
	for i, n := range a.nodes {
		autograd[i] = -1
		if n.Parent >= 0 {
			inside[i], autograd[i] = inside[n.Parent], autograd[n.Parent]
		}
		name, _ := splitName(n.Op)
		if containers[name] {
			inside[i] = true
		}
		if n.Flags&torch.FlagAutograd != 0 {
			inside[i] = true
			if n.Sequence >= 0 {
				autograd[i] = i
			}
		}
	}
	return inside, autograd
}

// sequenceModules maps autograd's sequence numbers to the modules of the
// forward operators that carry them. An operator that leaves no node in the
// backward graph carries the number of the next one that does, so the last
// bearer is the one.
func (a *account) sequenceModules(inBackward []bool) map[int64]string {
	modules := make([]string, len(a.nodes))
	known := make([]bool, len(a.nodes))
	for _, row := range a.rows {
		modules[row.node], known[row.node] = row.module, true
	}
	bySequence := map[int64]string{}
	for i, n := range a.nodes {
		if !known[i] && n.Parent >= 0 && known[n.Parent] {
			modules[i], known[i] = modules[n.Parent], true
		}
		if known[i] && !inBackward[i] && n.Sequence >= 0 {
			bySequence[n.Sequence] = modules[i]
		}
	}
	return bySequence
}

// namesUsed are the names of all parameters that any operator saw.
func (a *account) namesUsed() map[string]bool {
	used := map[string]bool{}
	note := func(v *torch.Value) {
		if v != nil && v.Name != "" {
			used[v.Name] = true
		}
	}
	for _, n := range a.nodes {
		for _, input := range n.Inputs {
			switch v := input.(type) {
			case *torch.Value:
				note(v)
			case []*torch.Value:
				for _, item := range v {
					note(item)
				}
			}
		}
	}
	return used
}

// parent is the module that holds a parameter or module of that name.
func parent(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i]
	}
	return ""
}

// commonModule is the innermost module that holds (or is) both.
func commonModule(a, b string) string {
	left, right := strings.Split(a, "."), strings.Split(b, ".")
	n := 0
	for n < len(left) && n < len(right) && left[n] == right[n] {
		n++
	}
	return strings.Join(left[:n], ".")
}

package optim

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// Parameter is a trainable tensor under its name in the model.
type Parameter struct {
	Name   string
	Tensor *ts.Tensor
}

// Group is a set of parameters that share what the optimizer does to them.
type Group struct {
	Parameters  []Parameter
	WeightDecay float64
	LRScale     float64 // factor on the schedule's learning rate; 0 means 1
}

// Grouping says how Groups divides the parameters of a model.
type Grouping struct {
	// WeightDecay of the parameters that are decayed. Never decayed are biases
	// and tensors of at most one dimension (norms, layer scales). A relative
	// position bias has more dimensions, whence it is decayed, as in the
	// published training code.
	WeightDecay float64
	// NoDecay names more parameters that are not decayed.
	NoDecay []string
	// LayerDecay multiplies the learning rate once per layer, counted from the
	// output back: the last layer trains at the full rate, the one before it at
	// LayerDecay times that, and so on (arXiv 2106.08254, appendix). 0 or 1 is off.
	LayerDecay float64
	// Layer gives a parameter's layer, 0 for the one next to the input, and
	// Layers their number. Both are needed for LayerDecay.
	Layer  func(name string) int
	Layers int
}

// Groups divides parameters by decay and layer, keeping their order. It fails
// on LayerDecay without Layer, and where Layer leaves [0, Layers).
func Groups(parameters []Parameter, g Grouping) ([]Group, error) {
	byLayer := g.LayerDecay != 0 && g.LayerDecay != 1
	if byLayer && (g.Layer == nil || g.Layers < 1) {
		return nil, fmt.Errorf("optim: Groups: layer decay %g needs the number of layers", g.LayerDecay)
	}
	type key struct {
		layer int
		decay bool
	}
	var groups []Group
	index := map[key]int{}
	for _, p := range parameters {
		info, err := torch.InfoOf(p.Tensor)
		if err != nil {
			return nil, fmt.Errorf("optim: Groups: %s: %w", p.Name, err)
		}
		k := key{decay: len(info.Shape) > 1 && !strings.HasSuffix(p.Name, ".bias") && !slices.Contains(g.NoDecay, p.Name)}
		scale := 1.0
		if byLayer {
			k.layer = g.Layer(p.Name)
			if k.layer < 0 || k.layer >= g.Layers {
				return nil, fmt.Errorf("optim: Groups: %s: layer %d, want 0 to %d", p.Name, k.layer, g.Layers-1)
			}
			scale = math.Pow(g.LayerDecay, float64(g.Layers-1-k.layer))
		}
		i, ok := index[k]
		if !ok {
			i = len(groups)
			index[k] = i
			groups = append(groups, Group{LRScale: scale})
			if k.decay {
				groups[i].WeightDecay = g.WeightDecay
			}
		}
		groups[i].Parameters = append(groups[i].Parameters, p)
	}
	return groups, nil
}

// Tensors are the tensors of parameters, in order.
func Tensors(parameters []Parameter) []*ts.Tensor {
	list := make([]*ts.Tensor, len(parameters))
	for i, p := range parameters {
		list[i] = p.Tensor
	}
	return list
}

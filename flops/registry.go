package flops

import (
	"maps"
	"strings"
	"sync"
)

// Cost is what one call of an operator costs.
type Cost struct {
	// Label names it in the report's table by operator; empty: the operator's
	// own name without "aten::".
	Label string
	// MACs are multiply-accumulates, FLOPs single floating point operations: an
	// addition, subtraction, multiplication, division, square root, comparison of
	// two numbers (max, min, relu), or one evaluation of exp, log, erf, tanh, sin,
	// cos, pow or their like. A multiply-accumulate is two.
	MACs, FLOPs int64
	// Bytes read and written; 0: every tensor argument and result once.
	Bytes int64
	// Parts, where there are any, replace the four above: one fused operator
	// shows as several rows.
	Parts []Cost
}

// rows are the parts, or the cost itself.
func (c Cost) rows() []Cost {
	if len(c.Parts) > 0 {
		return c.Parts
	}
	return []Cost{c}
}

// Handler computes an operator's cost from shapes and constants alone.
type Handler func(op *Op) Cost

// Registry holds handlers by operator name. Its methods may be called from
// several goroutines.
type Registry struct {
	mu       sync.RWMutex
	handlers map[string]Handler
}

// NewRegistry starts with the handlers that this package has for libtorch's and
// NATTEN's operators.
func NewRegistry() *Registry { return &Registry{handlers: map[string]Handler{}} }

// Handle sets the handler of an operator ("mylib::op", without overload; it
// holds for the in-place form "mylib::op_" too). It goes before the package's
// own and holds under every [Convention]. A nil handler makes the operator free.
func (r *Registry) Handle(op string, handler Handler) {
	if handler == nil {
		handler = func(*Op) Cost { return Cost{} }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handlers[op] = handler
}

// snapshot is a copy for one count.
func (r *Registry) snapshot() map[string]Handler {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return maps.Clone(r.handlers)
}

// Default is the registry of counts that name no other.
var Default = NewRegistry()

// Handle sets a handler in the [Default] registry.
func Handle(op string, handler Handler) { Default.Handle(op, handler) }

// HandlerSetter is a counter that learns operators one by one: a [Registry], or
// somebody's own.
type HandlerSetter interface {
	Handle(op string, handler Handler)
}

// AddHandlers teaches a counter NATTEN's operators under a convention, as
// natten.flops.add_natten_handle did for fvcore's counter.
func AddHandlers(counter HandlerSetter, convention Convention) {
	for name, handler := range exact {
		if !strings.HasPrefix(name, "natten::") {
			continue
		}
		if own, ok := convention.table()[name]; ok {
			handler = withFLOPs(own, handler)
		}
		counter.Handle(name, handler)
	}
}

// withFLOPs takes MACs and labels from one handler and the rest from another;
// both have the same rows.
func withFLOPs(macs, rest Handler) Handler {
	return func(op *Op) Cost {
		cost, own := rest(op), macs(op).rows()
		if len(cost.Parts) == 0 {
			cost.MACs = own[0].MACs
		}
		for i := range cost.Parts {
			cost.Parts[i].MACs, cost.Parts[i].Label = own[i].MACs, own[i].Label
		}
		return cost
	}
}

// lookup finds a handler by name, then by the name without the underscore of
// in-place operators.
func lookup(handlers map[string]Handler, name string) (Handler, bool) {
	if h, ok := handlers[name]; ok {
		return h, true
	}
	if base, ok := strings.CutSuffix(name, "_"); ok {
		h, ok := handlers[base]
		return h, ok
	}
	return nil, false
}

// exact holds the package's own handlers; the files by group fill it.
var exact = merge(productHandlers, convolutionHandlers, attentionHandlers, normHandlers, pointwiseHandlers,
	reductionHandlers, poolHandlers, backwardHandlers, optimizerHandlers)

func merge(groups ...map[string]Handler) map[string]Handler {
	all := map[string]Handler{}
	for _, group := range groups {
		maps.Copy(all, group)
	}
	return all
}

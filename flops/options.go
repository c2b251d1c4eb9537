package flops

import (
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

type options struct {
	name       string
	convention Convention
	registry   *Registry
	store      *gotchnn.VarStore
	train      bool
	compute    bool
}

// Option changes how a count is made.
type Option func(*options)

// WithConvention sets what MACs mean; [Exact] without it.
func WithConvention(c Convention) Option { return func(o *options) { o.convention = c } }

// WithVariables names modules by the parameters of a variable store. Without it
// the store is looked for in the model's fields, and where there is none the
// names are those of the Go fields that hold tensors.
func WithVariables(store *gotchnn.VarStore) Option { return func(o *options) { o.store = store } }

// WithRegistry takes further handlers from r instead of [Default].
func WithRegistry(r *Registry) Option { return func(o *options) { o.registry = r } }

// WithName is the model's name in the report; without it its Go type.
func WithName(name string) Option { return func(o *options) { o.name = name } }

// WithTraining counts the forward pass as it runs while training (dropout and
// all). For backward passes see [TrainingStep].
func WithTraining() Option { return func(o *options) { o.train = true } }

// WithCompute lets the operators compute instead of running on shapes alone:
// for models whose course depends on values.
func WithCompute() Option { return func(o *options) { o.compute = true } }

func collect(opts []Option) *options {
	o := &options{registry: Default}
	for _, option := range opts {
		option(o)
	}
	return o
}

// Input is a float32 tensor of that shape without data, as an input to count
// with. The caller drops it.
func Input(shape ...int64) (*ts.Tensor, error) {
	s := torch.NewScope()
	defer s.Close()
	return s.Return(s.Zeros(append([]int64{}, shape...), gotch.Float, torch.Meta))
}

package flops

import "encoding/json"

// reportJSON is a report's form in JSON. Numbers by operator and module are MACs
// unless their name says otherwise.
type reportJSON struct {
	Model           string           `json:"model"`
	Convention      Convention       `json:"convention"`
	Params          int64            `json:"params"`
	MACs            int64            `json:"macs"`
	FLOPs           int64            `json:"flops"`
	Activations     int64            `json:"activations"`
	Bytes           int64            `json:"bytes"`
	Intensity       float64          `json:"flops_per_byte"`
	ByOperator      map[string]int64 `json:"by_operator"`
	ByModule        map[string]int64 `json:"by_module"`
	FLOPsByOperator map[string]int64 `json:"flops_by_operator"`
	FLOPsByModule   map[string]int64 `json:"flops_by_module"`
	BytesByOperator map[string]int64 `json:"bytes_by_operator"`
	Unsupported     map[string]int   `json:"unsupported"`
	Uncounted       map[string]int   `json:"uncounted"`
	Computed        map[string]int   `json:"computed_on_zeros"`
	Uncalled        []string         `json:"uncalled"`
}

// MarshalJSON writes the report as an object: model, convention, params, macs,
// flops, activations, bytes, flops_per_byte; by_operator and by_module with MACs
// (the model itself is the module ""), the same with prefix flops_; bytes_by_operator;
// calls of unsupported, uncounted and computed_on_zeros operators; uncalled modules.
func (r *Report) MarshalJSON() ([]byte, error) {
	out := reportJSON{Model: r.Model, Convention: r.Convention, Params: r.Parameters, MACs: r.MACs, FLOPs: r.FLOPs,
		Activations: r.Activations, Bytes: r.Bytes, Intensity: r.Intensity(),
		ByOperator: map[string]int64{}, ByModule: map[string]int64{}, FLOPsByOperator: map[string]int64{},
		FLOPsByModule: map[string]int64{}, BytesByOperator: map[string]int64{},
		Unsupported: r.Unsupported, Uncounted: r.Uncounted, Computed: r.Computed, Uncalled: r.Uncalled}
	if out.Uncalled == nil {
		out.Uncalled = []string{}
	}
	for _, op := range r.Operators {
		set := func(m map[string]int64, n int64) {
			if n != 0 {
				m[op.Name] = n
			}
		}
		set(out.ByOperator, op.MACs)
		set(out.FLOPsByOperator, op.FLOPs)
		set(out.BytesByOperator, op.Bytes)
	}
	for _, m := range r.Modules() {
		out.ByModule[m.Name], out.FLOPsByModule[m.Name] = m.MACs, m.FLOPs
	}
	return json.Marshal(out)
}

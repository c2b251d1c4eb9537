package flops_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/internal/torch"
)

// shape is a float32 argument of that shape.
type shape []int64

// indices is an int64 argument of that shape.
type indices []int64

// call counts one operator on arguments without data.
func call(t *testing.T, c flops.Convention, op string, arguments ...any) *flops.Report {
	t.Helper()
	s := torch.NewScope()
	defer s.Close()
	r, err := flops.CountFunc(func(...*ts.Tensor) error {
		inner := torch.NewScope()
		defer inner.Close()
		inner.Call(torch.NewOp(op), materialise(s, arguments)...)
		return inner.Err()
	}, nil, flops.WithConvention(c))
	require.NoError(t, err)
	require.Empty(t, r.Unsupported)
	return r
}

func materialise(s *torch.Scope, arguments []any) []any {
	given := make([]any, len(arguments))
	for i, a := range arguments {
		switch v := a.(type) {
		case shape:
			given[i] = s.Zeros(v, gotch.Float, torch.Meta)
		case indices:
			given[i] = s.Zeros(v, gotch.Int64, torch.Meta)
		case []shape:
			var list []*ts.Tensor
			for _, each := range v {
				list = append(list, s.Zeros(each, gotch.Float, torch.Meta))
			}
			given[i] = list
		default:
			given[i] = a
		}
	}
	return given
}

// ints keeps literals short.
func ints(v ...int64) []int64 { return v }

func TestHandlers(t *testing.T) {
	const b, n, k, m = 2, 5, 7, 3
	const tokens, heads, dim, value = 20, 4, 8, 6
	const queries = b * heads * tokens
	none := any(nil)
	q, v := shape{b, tokens, heads, dim}, shape{b, tokens, heads, value}
	geometry := []any{ints(7), ints(2), []bool{false}}
	causal := []any{ints(7), ints(1), []bool{true}}
	with := func(front []any, middle []any, back ...any) []any {
		return append(append(append([]any{}, front...), middle...), back...)
	}
	// Causal, dilation 1: the first six queries see 1 to 6 keys.
	const pairs, causalPairs = queries * 7, b * heads * (tokens*7 - 21)
	softmax := func(pairs, rows int64) int64 { return 5*pairs - 2*rows }

	for _, c := range []struct {
		name        string
		op          string
		arguments   []any
		macs, flops int64
	}{
		{"linear", "aten::linear", []any{shape{b, n, k}, shape{m, k}}, b * n * k * m, 2 * b * n * k * m},
		{"linear with bias", "aten::linear", []any{shape{b, n, k}, shape{m, k}, shape{m}}, b * n * k * m, 2*b*n*k*m + b*n*m},
		{"mm", "aten::mm", []any{shape{n, k}, shape{k, m}}, n * k * m, 2 * n * k * m},
		{"bmm", "aten::bmm", []any{shape{b, n, k}, shape{b, k, m}}, b * n * k * m, 2 * b * n * k * m},
		{"matmul broadcasts", "aten::matmul", []any{shape{n, k}, shape{b, k, m}}, b * n * k * m, 2 * b * n * k * m},
		{"matmul of vectors", "aten::matmul", []any{shape{k}, shape{k}}, k, 2 * k},
		{"matmul with a vector", "aten::matmul", []any{shape{b, n, k}, shape{k}}, b * n * k, 2 * b * n * k},
		{"addmm", "aten::addmm", []any{shape{m}, shape{n, k}, shape{k, m}}, n * k * m, 2*n*k*m + n*m},
		{"addmm scaled", "aten::addmm", []any{shape{m}, shape{n, k}, shape{k, m}, 2.0, 3.0}, n * k * m, 2*n*k*m + 3*n*m},
		{"addmm without addend", "aten::addmm", []any{shape{m}, shape{n, k}, shape{k, m}, 0.0}, n * k * m, 2 * n * k * m},
		{"baddbmm", "aten::baddbmm", []any{shape{b, n, m}, shape{b, n, k}, shape{b, k, m}}, b * n * k * m, 2*b*n*k*m + b*n*m},
		{"addbmm", "aten::addbmm", []any{shape{n, m}, shape{b, n, k}, shape{b, k, m}}, b * n * k * m, 2*b*n*k*m + n*m},
		{"einsum by its parts", "aten::einsum", []any{"bij,bjk->bik", []shape{{b, n, k}, {b, k, m}}}, b * n * k * m, 2 * b * n * k * m},

		{"conv2d", "aten::conv2d", []any{shape{b, 4, 9, 11}, shape{6, 4, 3, 3}, none, ints(2, 2), ints(1, 1)},
			b * 5 * 6 * 6 * 4 * 9, 2 * b * 5 * 6 * 6 * 4 * 9},
		{"grouped conv2d with bias", "aten::conv2d", []any{shape{b, 4, 9, 9}, shape{6, 2, 3, 3}, shape{6}, ints(1, 1), ints(0, 0), ints(1, 1), 2},
			b * 49 * 6 * 2 * 9, 2*b*49*6*2*9 + b*49*6},
		{"dilated conv1d", "aten::conv1d", []any{shape{b, 4, 20}, shape{6, 4, 3}, none, ints(1), ints(0), ints(2)},
			b * 16 * 6 * 4 * 3, 2 * b * 16 * 6 * 4 * 3},
		{"conv1d without batch", "aten::conv1d", []any{shape{4, 20}, shape{6, 4, 3}}, 18 * 6 * 4 * 3, 2 * 18 * 6 * 4 * 3},
		{"conv1d padded to the same size", "aten::conv1d.padding", []any{shape{b, 4, 20}, shape{6, 4, 3}, none, ints(1), "same"},
			b * 20 * 6 * 4 * 3, 2 * b * 20 * 6 * 4 * 3},
		{"conv3d", "aten::conv3d", []any{shape{b, 2, 4, 5, 6}, shape{3, 2, 2, 2, 2}}, b * 3 * 4 * 5 * 3 * 2 * 8, 2 * b * 3 * 4 * 5 * 3 * 2 * 8},
		{"conv_transpose2d", "aten::conv_transpose2d.input", []any{shape{b, 4, 5, 5}, shape{4, 6, 3, 3}, none, ints(2, 2)},
			b * 25 * 4 * 6 * 9, 2 * b * 25 * 4 * 6 * 9},

		{"layer_norm", "aten::layer_norm", []any{shape{b, n, k}, ints(k), shape{k}, shape{k}}, 0, b * n * (7*k + 3)},
		{"layer_norm without weight", "aten::layer_norm", []any{shape{b, n, k}, ints(n, k)}, 0, b * (5*n*k + 3)},
		{"group_norm", "aten::group_norm", []any{shape{b, 4, n}, 2, shape{4}, shape{4}}, 0, b * 2 * (7*2*n + 3)},
		{"instance_norm", "aten::instance_norm", []any{shape{b, 4, n}, none, none, none, none, true, 0.1, 1e-5, false}, 0, b * 4 * (5*n + 3)},
		{"batch_norm", "aten::batch_norm", []any{shape{b, 4, n}, shape{4}, shape{4}, shape{4}, shape{4}, false, 0.1, 1e-5, false}, 0, 2*b*4*n + 6*4},
		{"batch_norm in training", "aten::batch_norm", []any{shape{b, 4, n}, shape{4}, shape{4}, shape{4}, shape{4}, true, 0.1, 1e-5, false}, 0, 4*(7*b*n+3) + 6*4},

		{"add", "aten::add.Tensor", []any{shape{n, k}, shape{n, k}}, 0, n * k},
		{"add scaled", "aten::add.Tensor", []any{shape{n, k}, shape{k}, 2.0}, 0, 2 * n * k},
		{"add in place", "aten::add_.Tensor", []any{shape{n, k}, shape{n, k}}, 0, n * k},
		{"add of integers", "aten::add.Tensor", []any{indices{n, k}, indices{n, k}}, 0, 0},
		{"gelu", "aten::gelu", []any{shape{n, k}}, 0, 5 * n * k},
		{"gelu by tanh", "aten::gelu", []any{shape{n, k}, "tanh"}, 0, 9 * n * k},
		{"sigmoid", "aten::sigmoid", []any{shape{n, k}}, 0, 4 * n * k},
		{"silu", "aten::silu", []any{shape{n, k}}, 0, 5 * n * k},
		{"dropout off", "aten::dropout", []any{shape{n, k}, 0.5, false}, 0, 0},
		{"softmax", "aten::softmax.int", []any{shape{n, k}, -1}, 0, n * (5*k - 2)},
		{"softmax along 0", "aten::softmax.int", []any{shape{n, k}, 0}, 0, k * (5*n - 2)},
		{"log_softmax", "aten::log_softmax.int", []any{shape{n, k}, 1}, 0, n * (5*k - 1)},
		{"sum", "aten::sum", []any{shape{n, k}}, 0, n*k - 1},
		{"sum of a dimension", "aten::sum.dim_IntList", []any{shape{n, k}, ints(1)}, 0, n*k - n},
		{"mean", "aten::mean.dim", []any{shape{n, k}, ints(1)}, 0, n * k},
		{"maximum of two", "aten::max.other", []any{shape{n, k}, shape{n, k}}, 0, n * k},
		{"variance", "aten::var.correction", []any{shape{n, k}, ints(1)}, 0, 4 * n * k},
		{"cumsum", "aten::cumsum", []any{shape{n, k}, 1}, 0, n * (k - 1)},
		{"logsumexp", "aten::logsumexp", []any{shape{n, k}, ints(1)}, 0, 4 * n * k},
		{"cross entropy", "aten::cross_entropy_loss", []any{shape{n, k}, indices{n}}, 0, n*(5*k-1) + 2*n},
		{"max_pool2d", "aten::max_pool2d", []any{shape{1, 2, 4, 4}, ints(2, 2)}, 0, 2 * 4 * 3},
		{"avg_pool2d at borders", "aten::avg_pool2d", []any{shape{1, 1, 3, 3}, ints(3, 3), ints(1, 1), ints(1, 1)}, 0, 7 * 7},
		{"adaptive_avg_pool1d", "aten::adaptive_avg_pool1d", []any{shape{b, 4, 49}, ints(1)}, 0, b * 4 * 49},
		{"adaptive_avg_pool2d", "aten::adaptive_avg_pool2d", []any{shape{1, 1, 5, 5}, ints(2, 2)}, 0, 6 * 6},
		{"upsample_bilinear2d", "aten::upsample_bilinear2d", []any{shape{1, 2, 4, 4}, ints(8, 8), false}, 0, 7 * 2 * 64},
		{"cat moves only", "aten::cat", []any{[]shape{{n, k}, {m, k}}, 0}, 0, 0},
		{"reshape", "aten::reshape", []any{shape{n, k}, ints(k, n)}, 0, 0},

		{"dense attention", "aten::scaled_dot_product_attention", []any{shape{b, heads, n, dim}, shape{b, heads, k, dim}, shape{b, heads, k, value}},
			b * heads * n * k * (dim + value), 2*b*heads*n*k*(dim+value) + b*heads*n*dim + softmax(b*heads*n*k, b*heads*n)},
		{"dense attention, causal", "aten::scaled_dot_product_attention", []any{shape{b, heads, n, dim}, shape{b, heads, n, dim}, shape{b, heads, n, dim}, none, 0.0, true},
			b * heads * 15 * 2 * dim, 4*b*heads*15*dim + b*heads*n*dim + softmax(b*heads*15, b*heads*n)},
		{"dense attention, mask", "aten::scaled_dot_product_attention", []any{shape{b, heads, n, dim}, shape{b, heads, k, dim}, shape{b, heads, k, dim}, shape{n, k}},
			b * heads * n * k * 2 * dim, 4*b*heads*n*k*dim + b*heads*n*dim + b*heads*n*k + softmax(b*heads*n*k, b*heads*n)},

		{"na", "natten::na", with([]any{q, q, v, none}, geometry), pairs * (dim + value),
			2*pairs*(dim+value) + queries*dim + softmax(pairs, queries)},
		{"na with rpb", "natten::na", with([]any{q, q, v, shape{heads, 13}}, geometry), pairs * (dim + value),
			2*pairs*(dim+value) + queries*dim + pairs + softmax(pairs, queries)},
		{"na, causal", "natten::na", with([]any{q, q, v, none}, causal), causalPairs * (dim + value),
			2*causalPairs*(dim+value) + queries*dim + softmax(causalPairs, queries)},
		{"na, additional keys", "natten::na", with([]any{q, q, v, none}, geometry, none, ints(), shape{b, 3, heads, dim}, shape{b, 3, heads, value}),
			queries * 10 * (dim + value), 2*queries*10*(dim+value) + queries*dim + softmax(queries*10, queries)},
		{"na_qk", "natten::na_qk", with([]any{q, q, none}, geometry), pairs * dim, 2 * pairs * dim},
		{"na_qk scaled with rpb", "natten::na_qk", with([]any{q, q, shape{heads, 13}}, geometry, 0.5), pairs * dim, 2*pairs*dim + queries*dim + pairs},
		{"na_av", "natten::na_av", with([]any{shape{b, tokens, heads, 7}, v}, geometry), pairs * value, 2 * pairs * value},

		{"adamw", "aten::_fused_adamw_", []any{[]shape{{n, k}, {m}}, []shape{{n, k}, {m}}, []shape{{n, k}, {m}}, []shape{{n, k}, {m}}, []shape{}, []shape{{}, {}},
			1e-3, 0.9, 0.999, 0.01, 1e-8, false, false}, 0, 14 * (n*k + m)},
		{"sgd", "aten::_fused_sgd_", []any{[]shape{{n, k}}, []shape{{n, k}}, []shape{{n, k}}, 0.0, 0.9, 0.1, 0.0, true, false, false}, 0, 7 * n * k},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := call(t, flops.Exact, c.op, c.arguments...)
			require.Equal(t, c.macs, r.MACs, "MACs")
			require.Equal(t, c.flops, r.FLOPs, "FLOPs")
		})
	}
}

// Every window of every axis, counted key by key from the definition.
func TestNeighborhoodPairs(t *testing.T) {
	visible := func(length, kernel, dilation, stride int64, causal bool) (pairs int64) {
		for query := range length {
			residue, place := query%dilation, query/dilation
			group := (length-1-residue)/dilation + 1
			for key := range group {
				if !causal {
					// The kernel nearest members; ties and edges only move the window.
					if key < kernel {
						pairs++
					}
					continue
				}
				leader := min(place/stride*stride+stride-1, group-1)
				if key <= place && key > leader-kernel {
					pairs++
				}
			}
		}
		return pairs
	}
	for _, length := range []int64{12, 13, 21} {
		for _, kernel := range []int64{2, 3, 5} {
			for _, dilation := range []int64{1, 2} {
				for _, stride := range []int64{1, 2} {
					for _, causal := range []bool{false, true} {
						if stride > kernel {
							continue
						}
						q := shape{1, length, 7, 2, 4}
						r := call(t, flops.Exact, "natten::na", q, q, q, nil, ints(kernel, 3), ints(dilation, 1),
							[]bool{causal, false}, nil, ints(stride, 1))
						want := 2 * visible(length, kernel, dilation, stride, causal) * 7 * 3 * 2 * 4
						require.Equal(t, want, r.MACs, "length %d kernel %d dilation %d stride %d causal %v", length, kernel, dilation, stride, causal)
					}
				}
			}
		}
	}
}

// fvcore's own quirks, under its conventions.
func TestFVCoreHandlers(t *testing.T) {
	for _, c := range []struct {
		name      string
		op        string
		arguments []any
		macs      int64
	}{
		{"matmul forgets the right batch", "aten::matmul", []any{shape{5, 7}, shape{2, 7, 3}}, 5 * 7 * 3},
		{"layer_norm", "aten::layer_norm", []any{shape{2, 5, 7}, ints(7), shape{7}, shape{7}}, 5 * 70},
		{"layer_norm without weight", "aten::layer_norm", []any{shape{2, 5, 7}, ints(7)}, 4 * 70},
		{"batch_norm", "aten::batch_norm", []any{shape{2, 4, 5}, shape{4}, shape{4}, shape{4}, shape{4}, false, 0.1, 1e-5, false}, 2 * 40},
		{"batch_norm without weight", "aten::batch_norm", []any{shape{2, 4, 5}, nil, nil, shape{4}, shape{4}, false, 0.1, 1e-5, false}, 40},
		{"batch_norm in training", "aten::batch_norm", []any{shape{2, 4, 5}, shape{4}, shape{4}, shape{4}, shape{4}, true, 0.1, 1e-5, false}, 5 * 40},
		{"adaptive_avg_pool2d", "aten::adaptive_avg_pool2d", []any{shape{1, 3, 5, 5}, ints(2, 2)}, 75},
		{"upsample_bilinear2d", "aten::upsample_bilinear2d", []any{shape{1, 2, 4, 4}, ints(8, 8), false}, 4 * 128},
		{"einsum, batched product", "aten::einsum", []any{"nct,ncp->ntp", []shape{{2, 5, 7}, {2, 5, 3}}}, 2 * 5 * 7 * 3},
		{"einsum, transposed product", "aten::einsum", []any{"ntg,ncg->nct", []shape{{2, 5, 7}, {2, 3, 7}}}, 2 * 5 * 7 * 3},
		// numpy prints 2.000e+05 + 1 as 2.000e+05.
		{"einsum, four digits", "aten::einsum", []any{"ij,jk->ik", []shape{{100, 50}, {50, 20}}}, 100 * 50 * 20},
		{"softmax is not counted", "aten::softmax.int", []any{shape{5, 7}, -1}, 0},
		{"causal windows count whole", "natten::na_av", []any{shape{1, 9, 2, 3}, shape{1, 9, 2, 4}, ints(3), ints(1), []bool{true}}, 9 * 2 * 3 * 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.macs, call(t, flops.NATTEN0175, c.op, c.arguments...).MACs)
		})
	}
	r := call(t, flops.NATTEN0175, "aten::softmax.int", shape{5, 7}, -1)
	require.Equal(t, map[string]int{"aten::softmax": 1}, r.Uncounted)
	require.EqualValues(t, 5*33, r.FLOPs)
}

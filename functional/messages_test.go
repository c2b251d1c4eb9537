package functional_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
)

// spoken is one call that the operators refuse, and what they say.
type spoken struct {
	Op        string
	Arguments []any
	Message   string
}

var tensorText = regexp.MustCompile(`^(\w+)\[([\d,]*)\](@meta)?$`)

// argument makes the operator's argument of its JSON form: "float32[2,3]@meta" is a tensor.
func argument(s *torch.Scope, value any) any {
	switch v := value.(type) {
	case map[string]any:
		list := []*ts.Tensor{}
		for _, t := range v["tensors"].([]any) {
			list = append(list, argument(s, t).(*ts.Tensor))
		}
		return list
	case string:
		parts := tensorText.FindStringSubmatch(v)
		if parts == nil {
			number, err := strconv.ParseFloat(v, 64)
			s.Fail(err)
			return number
		}
		device, shape := torch.CPU, []int64{}
		if parts[3] != "" {
			device = torch.Meta
		}
		for _, n := range strings.FieldsFunc(parts[2], func(c rune) bool { return c == ',' }) {
			size, err := strconv.ParseInt(n, 10, 64)
			s.Fail(err)
			shape = append(shape, size)
		}
		dtype := map[string]gotch.DType{"float32": gotch.Float, "float64": gotch.Double, "float16": gotch.Half,
			"int64": gotch.Int64, "bool": gotch.Bool}[parts[1]]
		return s.Zeros(shape, dtype, device)
	case []any:
		if len(v) > 0 {
			if _, ok := v[0].(bool); ok {
				list := make([]bool, len(v))
				for i := range v {
					list[i] = v[i].(bool)
				}
				return list
			}
		}
		list := make([]int64, len(v))
		for i := range v {
			n, err := v[i].(json.Number).Int64()
			s.Fail(err)
			list[i] = n
		}
		return list
	case json.Number:
		number, err := v.Float64()
		s.Fail(err)
		return number
	}
	return value
}

func messages(t *testing.T) []spoken {
	file, err := os.Open("testdata/messages.json")
	require.NoError(t, err)
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.UseNumber() // 2^63-1 is no float64
	var all []spoken
	require.NoError(t, decoder.Decode(&all))
	require.GreaterOrEqual(t, len(all), 70)
	return all
}

// The checks are one table: the C interface says what testdata/messages.json has,
// word for word. scripts/peers/messages.py compares what Python sees with the same file.
func TestMessagesThroughTheCInterface(t *testing.T) {
	for _, c := range messages(t) {
		s := torch.NewScope()
		arguments := make([]any, len(c.Arguments))
		for i, value := range c.Arguments {
			arguments[i] = argument(s, value)
		}
		require.NoError(t, s.Err(), c.Op)
		_, err := torch.NewOp(c.Op).Call(arguments...)
		require.EqualError(t, err, c.Message, "%s %v", c.Op, c.Arguments)
		s.Close()
	}
}

// Package functional says the same after its own name, but where its options
// are checked before an operator sees them.
func TestMessagesThroughFunctional(t *testing.T) {
	said := 0
	for _, c := range messages(t) {
		kind, ok := map[string]string{"natten::na": "", "natten::na_qk": "QK", "natten::na_av": "AV"}[c.Op]
		if !ok {
			continue
		}
		s := torch.NewScope()
		a := make([]any, len(c.Arguments))
		for i, value := range c.Arguments {
			a[i] = argument(s, value)
		}
		require.NoError(t, s.Err(), c.Op)
		at := map[string]int{"": 4, "QK": 3, "AV": 2}[kind] // where the window's arguments begin
		o := functional.Options{KernelSize: a[at].([]int64), Dilation: a[at+1].([]int64), IsCausal: a[at+2].([]bool)}
		rank := len(o.KernelSize)
		var err error
		switch kind {
		case "AV":
			o.Stride = a[5].([]int64)
			if rank == 2 && len(o.Dilation) == 2 {
				_, err = functional.NA2DAV(a[0].(*ts.Tensor), a[1].(*ts.Tensor), o)
			}
		default:
			o.RPB, _ = a[at-1].(*ts.Tensor)
			o.Scale, _ = a[at+3].(float64)
			o.Stride = a[at+4].([]int64)
			if kind == "" {
				o.ExtraK, _ = a[9].(*ts.Tensor)
				o.ExtraV, _ = a[10].(*ts.Tensor)
				o.DropoutP, _ = a[11].(float64)
			}
			if rank != 2 || len(o.Dilation) != 2 || len(o.IsCausal) != 2 || len(o.Stride) > 2 {
				break // refused by the options' own check; TestBadInput has those
			}
			if kind == "" {
				_, err = functional.NA2D(a[0].(*ts.Tensor), a[1].(*ts.Tensor), a[2].(*ts.Tensor), o)
			} else {
				_, err = functional.NA2DQK(a[0].(*ts.Tensor), a[1].(*ts.Tensor), o)
			}
		}
		if err != nil {
			_, text, _ := strings.Cut(c.Message, ": ")
			require.EqualError(t, err, fmt.Sprintf("functional: NA2D%s: %s", kind, text))
			said++
		}
		s.Close()
	}
	require.GreaterOrEqual(t, said, 35)
	require.True(t, math.IsNaN(argument(torch.NewScope(), "nan").(float64)))
}

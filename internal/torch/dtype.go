package torch

import (
	"fmt"

	"github.com/sugarme/gotch"
)

// floating are the dtypes that the operators take, by their names.
var floating = map[string]gotch.DType{
	"float64": gotch.Double, "float32": gotch.Float, "float16": gotch.Half, "bfloat16": gotch.BFloat16,
}

// FloatDType is the dtype called "float64", "float32", "float16" or "bfloat16".
func FloatDType(name string) (dtype gotch.DType, ok bool) {
	dtype, ok = floating[name]
	return dtype, ok
}

// DTypeName is FloatDType's name of a dtype; of others it is gotch's.
func DTypeName(dtype gotch.DType) string {
	for name, d := range floating {
		if d == dtype {
			return name
		}
	}
	return fmt.Sprint(dtype)
}

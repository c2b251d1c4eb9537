package definition_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/definition"
)

// Stride, even kernels, dilation and causal masking as NATTEN itself
// understands them; testdata/gna_windows.py made the file.
func TestWindowsOfNATTEN(t *testing.T) {
	data, err := os.ReadFile("testdata/gna_windows.json")
	require.NoError(t, err)
	var file struct {
		Source string
		Rows   []json.RawMessage
	}
	require.NoError(t, json.Unmarshal(data, &file))
	require.Greater(t, len(file.Rows), 700)
	for _, row := range file.Rows {
		var axis definition.Axis
		var first, count []int
		fields := []any{&axis.Length, &axis.Kernel, &axis.Dilation, &axis.Stride, &axis.Causal, &first, &count}
		require.NoError(t, json.Unmarshal(row, &fields))
		require.Len(t, first, axis.Length)
		for query := range first {
			var keys []int
			for i := 0; i < count[query]; i++ {
				keys = append(keys, first[query]+i*axis.Dilation)
			}
			require.Equal(t, keys, axis.Keys(query), "%+v query %d", axis, query)
		}
	}
}

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
)

func TestWhyReadsShapes(t *testing.T) {
	p, err := parseProblem("B8 H2 56x40 D32 K7x5 d1x8 rpb bfloat16 backward")
	require.NoError(t, err)
	require.Equal(t, torch.CUDAProblem{
		Batch: 8, Heads: 2, Dim: 32, Length: []int64{56, 40}, Kernel: []int64{7, 5}, Dilation: []int64{1, 8},
		DType: gotch.BFloat16, RPB: true, Backward: true,
	}, p)
	p, err = parseProblem("H2 56 D32 K7 unfused")
	require.NoError(t, err)
	require.True(t, p.Unfused)
	for shape, message := range map[string]string{
		"":                  "want H, D, one to three lengths",
		"H2 56 D32 K7x7":    "as many after K",
		"H2 56 D32 K7 d1x1": "want 1 numbers after d",
		"H2 56 D32 K60":     "kernel 60 at dilation 1 exceeds length 56",
		"H2 56 D32 K7 q":    `"q" is no part`,
		"H2 56 D32 K7 f5":   `"f5" is no part`,
		"H2 56 D32 K0":      `"K0" is no part`,
	} {
		_, err := parseProblem(shape)
		require.ErrorContains(t, err, message, shape)
	}
	text, err := whyBackend("H24 256x256 D128 K80x80 bfloat16")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(text, "cpu: "))
	require.Contains(t, text, "\ncuda")
}

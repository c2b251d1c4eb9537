package record

import (
	"image/color"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFaintIsAFainterBlue: a colour whose channels exceed its alpha wraps round
// and is drawn in red.
func TestFaintIsAFainterBlue(t *testing.T) {
	r, g, b, a := color.Color(faint).RGBA()
	require.LessOrEqual(t, max(r, g, b), a)
	require.Greater(t, b, r)
}

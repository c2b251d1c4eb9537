package procmem_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/procmem"
)

func TestResident(t *testing.T) {
	before := procmem.Resident()
	block := make([]byte, 64<<20)
	for i := range block {
		block[i] = 1
	}
	if before > 0 {
		require.Greater(t, procmem.Resident()-before, int64(40<<20))
	}
	require.EqualValues(t, 1, block[len(block)-1])
	if peak := procmem.Peak(); peak > 0 {
		require.GreaterOrEqual(t, peak, before)
	}
}

package data

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestImageNetClasses(t *testing.T) {
	names := ImageNetClasses()
	require.Len(t, names, 1000)
	require.Len(t, imagenet().identifier, 1000)
	require.Equal(t, []string{"tench", "goldfish", "tabby", "toilet tissue"}, []string{names[0], names[1], names[281], names[999]})
	folders := []string{}
	for line := range strings.Lines(imagenetClasses) {
		folders = append(folders, line[:9])
	}
	require.True(t, slices.IsSorted(folders), "the order of folders is the order of labels")
	sorted := slices.Sorted(slices.Values(names))
	require.Len(t, slices.Compact(sorted), 1000, "no two are called alike")
	require.Equal(t, "tench", ClassName("n01440764"))
	require.Equal(t, "cat", ClassName("cat"))
}

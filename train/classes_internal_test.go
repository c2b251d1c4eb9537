package train

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/data"
)

func TestLabelsByName(t *testing.T) {
	set, err := data.NewMemory("two", make([]uint8, 2*4), 2, 2, 1, []uint8{0, 1}, []string{"n01440764", "n01443537"})
	require.NoError(t, err)
	labels := func(classes []string, n int64) (list []int) {
		ds, err := labelled(set, classes, n)
		require.NoError(t, err)
		for i := range ds.Len() {
			sample, err := ds.Sample(i)
			require.NoError(t, err)
			list = append(list, sample.Label)
		}
		return list
	}
	require.Equal(t, []int{0, 1}, labels(data.ImageNetClasses(), 1000), "a part of ImageNet")
	require.Equal(t, []int{2, 0}, labels([]string{"goldfish", "newt", "tench"}, 3), "in another order")
	require.Equal(t, []int{1, 0}, labels([]string{"n01443537", "n01440764"}, 2))
	require.Equal(t, []int{0, 1}, labels([]string{"LABEL_0", "LABEL_1"}, 2), "other names, as many")
	require.Equal(t, []int{0, 1}, labels(nil, 2), "no names")
	_, err = labelled(set, []string{"tench", "cat", "dog"}, 3)
	require.EqualError(t, err, "train: the data has 2 classes and the model 3, and 1 names of the data are none of the model's: n01443537")
	_, err = labelled(set, nil, 1000)
	require.ErrorContains(t, err, "the data has 2 classes and the model 1000")
}

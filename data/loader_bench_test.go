package data_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/data/augment"
	"github.com/gonatten/gonatten/data/internal/photos"
)

// BenchmarkLoader measures images per second with the official recipe's
// augmentation on ImageNet-sized JPEG files: those of the image folder that
// GONATTEN_BENCH_IMAGES names, which is made where it does not exist or is empty, or of a
// temporary one. scripts/peers/loader.py runs it beside Python's loaders.
func BenchmarkLoader(b *testing.B) {
	dir := os.Getenv("GONATTEN_BENCH_IMAGES")
	if dir == "" {
		dir = b.TempDir()
	}
	require.NoError(b, photos.WriteFolder(dir, 64))
	ds, err := data.Open(context.Background(), dir, "", data.Options{})
	require.NoError(b, err)
	tr, err := augment.TrainTransform(augment.Recipe(224))
	require.NoError(b, err)
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			l, err := data.NewLoader(ds, tr, data.LoaderOptions{BatchSize: 32, Workers: workers, Shuffle: true})
			require.NoError(b, err)
			images := 0
			epoch := 0
			for b.Loop() {
				for batch, err := range l.Epoch(context.Background(), epoch, 0) {
					if err != nil {
						b.Fatal(err)
					}
					images += len(batch.Labels)
					batch.Release()
				}
				epoch++
			}
			rate := float64(images) / b.Elapsed().Seconds()
			b.ReportMetric(rate, "images/s")
			b.ReportMetric(rate/float64(workers), "images/s/core")
		})
	}
}

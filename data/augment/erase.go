package augment

import (
	"math"
	"math/rand/v2"
)

// What random erasing fills a region with.
const (
	EraseConst = "const" // zeros: the mean colour after normalisation
	EraseRand  = "rand"  // one normally distributed colour
	ErasePixel = "pixel" // normally distributed noise per pixel
)

// Erase fills regions of normalised [channels, height, width] values: with
// probability prob between one and count of them, each of 2% to a third of the
// area (divided by their number), with an aspect whose logarithm is uniform
// between log 0.3 and -log 0.3 (timm's RandomErasing).
func Erase(x []float32, channels, height, width int, prob float64, mode string, count int, rng *rand.Rand) {
	const (
		smallest, largest = 0.02, 1.0 / 3
		aspect            = 0.3
		attempts          = 10
	)
	if rng.Float64() > prob {
		return
	}
	n := 1
	if count > 1 {
		n += rng.IntN(count)
	}
	area := float64(height*width) / float64(n)
	for range n {
		for range attempts {
			target := uniform(rng, smallest, largest) * area
			ratio := math.Exp(uniform(rng, math.Log(aspect), -math.Log(aspect)))
			h, w := round(math.Sqrt(target*ratio)), round(math.Sqrt(target/ratio))
			if h >= height || w >= width {
				continue
			}
			top, left := rng.IntN(height-h+1), rng.IntN(width-w+1)
			for c := range channels {
				colour := float32(0)
				if mode == EraseRand {
					colour = float32(rng.NormFloat64())
				}
				for y := top; y < top+h; y++ {
					row := x[(c*height+y)*width:][left : left+w]
					for i := range row {
						if mode == ErasePixel {
							colour = float32(rng.NormFloat64())
						}
						row[i] = colour
					}
				}
			}
			break
		}
	}
}

package data

import "math/rand/v2"

// NewRand returns a generator whose stream depends on the keys and their order
// alone, and on every bit of each: neighbouring keys (sample 7 and 8, epoch 1 and
// 2) give unrelated streams. It is how every random choice of the pipeline is tied
// to what it is for and not to when it is made.
func NewRand(keys ...uint64) *rand.Rand {
	a, b := seedOf(keys...)
	return rand.New(rand.NewPCG(a, b))
}

// seedOf hashes keys to the 128 bits of a PCG seed.
func seedOf(keys ...uint64) (a, b uint64) {
	a, b = 0x9e3779b97f4a7c15, 0xd1b54a32d192ed03
	for _, k := range keys {
		a = mix(a ^ k)
		b = mix(b + a)
	}
	return a, b
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood 2014), preceded by its
// increment.
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// What a stream is for: the first key of each.
const (
	streamOrder uint64 = iota + 1
	streamSample
)

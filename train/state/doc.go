// Package state keeps everything that a training run needs to go on exactly
// where it was: checkpoints of which the last few are kept, each one file that
// is written whole or not at all and carries a checksum.
//
// A run consists of parts (model, optimizer, random numbers, position, ...).
// Each writes tensors and one JSON value into a section of its own, and reads
// them back; this package knows nothing of what they mean.
package state

// Package checkpoint reads and writes model weights in pure Go: no Python, no libtorch, nothing executed.
//
// Files are mapped, not read: a [Tensor] refers to the mapped bytes until its [Checkpoint] is closed, so that opening
// takes no memory whatever the file's size. Every length, offset, shape and name in a file is checked before use, and
// saved files replace old ones in one step.
//
// # Why not an existing safetensors package
//
// The Go packages for safetensors (github.com/nlpodyssey/safetensors, github.com/maruel/safetensors) parse headers with
// encoding/json, which accepts keys twice and in other letter case and takes several times a hostile header's size in
// memory. None writes in one step or carries a checksum. The format is small; what is needed here is strictness.
package checkpoint

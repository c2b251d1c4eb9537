// Package checkpoint reads and writes model weights in pure Go: no Python, no libtorch, nothing in a file executed.
//
//   - [Open] reads whatever NAT and DiNAT weights come in: safetensors, torch.save files of every age with their
//     training checkpoints and wrappers, TorchScript and gotch's VarStore.Save, HuggingFace folders, shards. It looks at
//     the content, not at the name.
//   - [Match] plans how a checkpoint meets a model, before anything is copied: what is loaded, resized, re-initialised,
//     missing or left over, with a [Report].
//   - [SaveSafetensors], [SaveTorch] and [SaveHuggingFace] write files that Python reads, whole or not at all.
//   - [FromHuggingFace] and [ToHuggingFace] convert between the official layout and that of transformers.
//
// # Memory
//
// Files are mapped, not read: a [Tensor] refers to the mapped bytes until its [Checkpoint] is closed, and conversions of
// layout are views as well. Opening a file takes no memory for weights, whatever its size. Like every memory map, it
// relies on nobody shortening the file meanwhile; files written here are replaced, never changed in place.
//
// # Trust
//
// A file may come from anywhere. Pickles are read as data by [github.com/gonatten/gonatten/checkpoint/pickle], with a
// short allow-list (see torchReader.call) of the functions that make tensors. Every length, offset, shape and stride is
// checked against the file with arithmetic that cannot overflow; what a file asks for beyond its own size is limited;
// checksums are compared: those of zip archives, and in safetensors files written here one in the metadata.
//
// # Why not existing packages
//
// For safetensors there are github.com/nlpodyssey/safetensors and github.com/maruel/safetensors. Both parse the header
// with encoding/json, which accepts keys twice and in other letter case and takes several times a hostile header's size
// in memory; neither writes in one step or carries a checksum. For pickles, github.com/nlpodyssey/gopickle and gotch's
// own reader (rejects nested dictionaries, cannot write) set no limits on memory. The formats are small; what is needed
// here is strictness.
package checkpoint

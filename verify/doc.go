// Package verify runs reference files on this machine: neighborhood attention
// operators, layers and models, forward and backward, on every device and in
// every dtype that work here. It is how one checks a new machine or build;
// "natten verify DIR" is its command.
//
// # Files
//
// A folder of references has any of these parts. Each index lists its cases;
// each case is a safetensors file with inputs and expected results.
//
//   - ops/: index.json and one file a case with q, k, v, dout and rpb, heads
//     first, and the expected logits, out, dq, dk, dv and drpb; windows.json,
//     the keys of every query on one axis; rejected.json, calls that must fail.
//   - modules/: the layers of package nn: param.*, input, grad_output, and the
//     expected output, grad_input and grad.*.
//   - models/ and hf/: a folder a model: its weights, an image, and the expected
//     logits, loss and gradients.
//
// Whatever else is in the folder is named in [Report.Skipped].
//
// # Limits
//
// Errors are relative to the largest magnitude in the reference tensor. Runs in
// float64 must be within 1e-10 of a reference stored in float64 and within 2e-7
// of one stored in float32 (whose own rounding is 6e-8); float32 runs within
// 1e-5. In float16 and bfloat16 the inputs are rounded first, the reference is
// PyTorch's own dense masked attention over them in float64, and the error may
// be twice that of the same dense attention in that dtype, in the root mean
// square, and four times in a single element.
//
// The reference files that this project is developed with are known by their
// SHA-256 sums, so that damage too small to matter numerically shows, too.
package verify

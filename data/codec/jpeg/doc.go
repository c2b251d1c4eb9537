// Package jpeg decodes JPEG files (ITU-T T.81; baseline, extended sequential and
// progressive Huffman coding, 8 bits, gray or YCbCr or RGB) for a training loop:
// fast, without cgo, and only as much of the picture as is wanted.
//
//   - A region: entropy-coded data has to be read up to the region's last row, but
//     the inverse transform, upsampling and colour conversion are done for the
//     region alone.
//   - A scale: 1/2, 1/4 or 1/8, by a smaller inverse transform of each block.
//
// The arithmetic is that of the Independent JPEG Group's library at its default
// settings (accurate integer transform, "fancy" triangle-filter upsampling), which
// Pillow and torchvision decode with: pixels come out bit for bit the same, as the
// tests check, so that a model sees the same input from either.
//
// A file that ends too early or whose codes make no sense is an error, never a
// picture that is partly gray.
package jpeg

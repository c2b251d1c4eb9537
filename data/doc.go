// Package data finds, reads and feeds images to a training loop: datasets by
// name or by folder, a deterministic parallel loader, and (in data/augment) the
// transforms of the published training recipes. It is plain Go: pixels come out
// as slices, and nothing here knows about tensors.
//
// # Datasets
//
// Open turns a specification and a split into a Dataset:
//
//	fashion-mnist            60,000 training and 10,000 test images, 28x28 gray
//	mnist                    the handwritten digits in the same format
//	cifar10, cifar100        50,000 and 10,000 images, 32x32 RGB
//	imagenet:DIR             DIR/train and DIR/val with a folder for each of 1,000 classes
//	DIR                      an image folder: DIR/train/CLASS/*.jpg and
//	                         DIR/val/CLASS/*.jpg, or DIR/CLASS/*.png
//	DIR                      tar shards in the WebDataset layout, train-*.tar and val-*.tar
//	'DIR/{split}-{000..127}.tar'
//
// A Dataset hands out Samples: a label and an image that is decoded only when it
// is asked for, so that a transform which keeps a small crop of a large JPEG need
// not pay for the rest. Named sets are looked for in a given folder, then in the
// places where the system's packages put them, then in the cache folder, and are
// fetched into the cache folder at last. Sizes are checked every time a set is
// opened; SHA-256 sums too for the MNIST formats, and for CIFAR when its archive is
// fetched.
//
// # Order and randomness
//
// The order of an epoch depends on the seed and the epoch's number alone, and the
// random numbers of a transform on the seed, the epoch, the sample's index and
// its repeat, never on the number of workers or their timing. A run that is
// resumed in the middle of an epoch therefore sees what it would have seen.
package data

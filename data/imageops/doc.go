// Package imageops changes the colours and the geometry of 8-bit images: the
// operations that augmentation policies such as RandAugment are made of, each with
// explicit arguments and no randomness.
//
// Every operation gives what Pillow's function of the same name gives (ImageOps,
// ImageEnhance, Image.transform), since the published recipes were tuned with
// those: point operations exactly, interpolating ones to within one level of 255.
// testdata holds Pillow's results, and data/testdata/make_goldens.py makes them.
//
// Operations that work pixel by pixel change the image in place; those that move
// pixels write into another image.
package imageops

// Package augment turns samples into network inputs the way timm's training
// script does: random-resized-crop, flips, RandAugment or colour jitter,
// normalisation, random erasing; for evaluation a resize and a central crop. Mixup
// and CutMix work on whole batches.
//
// TrainTransform and EvalTransform build the pipelines of a Config, whose fields
// have timm's names and meanings:
//
//	cfg := augment.Recipe(224)          // the official recipe
//	train, err := augment.TrainTransform(cfg)
//	eval, err := augment.EvalTransform(cfg)
//
// Every random number comes from the generator that the caller passes, so a
// transform of a given sample can be repeated at will; package data gives each
// sample of each epoch a generator of its own.
package augment

package config

import (
	"fmt"
	"strings"

	"github.com/gonatten/gonatten/internal/near"
)

// withoutMeaning are arguments of timm's train.py that this trainer has no use
// for, and why.
var withoutMeaning = map[string]string{
	"pretrained":              "give the weights' file as initial_checkpoint",
	"local_rank":              "ranks come from the environment",
	"torchscript":             "there is no Python to leave out",
	"torchcompile":            "there is no Python to leave out",
	"fuser":                   "there is no Python to leave out",
	"channels_last":           "the models choose their own memory layout",
	"no_prefetcher":           "batches are always made ahead",
	"pin_mem":                 "memory is pinned where that helps",
	"native_amp":              "say amp",
	"apex_amp":                "say amp",
	"model_ema_force_cpu":     "the average lives where the weights do",
	"log_wandb":               "metrics are written as JSON lines, CSV and TensorBoard events",
	"gp":                      "the models have one kind of pooling",
	"mixup_mode":              "mixing is drawn once per batch",
	"cutmix_minmax":           "cutmix draws its box from its distribution",
	"jsd_loss":                "augmentation splits are not supported",
	"aug_splits":              "augmentation splits are not supported",
	"sync_bn":                 "the models have no batch normalisation",
	"save_images":             "natten report shows pictures",
	"use_multi_epochs_loader": "workers outlive no epoch and start at once",
}

// unknown is the error for a key that does not exist.
func unknown(key string) error {
	key = strings.ReplaceAll(key, "-", "_")
	if why, ok := withoutMeaning[key]; ok {
		return fmt.Errorf("config: %s has no meaning here (%s): leave it out", key, why)
	}
	var names []string
	for _, f := range fields {
		names = append(names, f.Key)
	}
	return fmt.Errorf("config: unknown key %s%s", key, near.Question(key, names))
}

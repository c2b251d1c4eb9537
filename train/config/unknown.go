package config

import (
	"fmt"
	"strings"
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
	best, distance := "", len(key)/2+1
	for _, f := range fields {
		d := editDistance(key, f.Key)
		if strings.HasPrefix(f.Key, key) || strings.HasPrefix(key, f.Key) {
			d = min(d, 2)
		}
		if d < distance {
			best, distance = f.Key, d
		}
	}
	if best == "" {
		return fmt.Errorf("config: unknown key %s", key)
	}
	return fmt.Errorf("config: unknown key %s; did you mean %s?", key, best)
}

// editDistance is Levenshtein's: insertions, deletions and changes that turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gonatten/gonatten/train/optim"
	"github.com/gonatten/gonatten/train/schedule"
)

// Check reports every value that lies outside what it may be.
func (c *Config) Check() error {
	var mistakes []error
	fail := func(key, format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("config: %s is %s, want %s", key, orNothing(c.Get(key)), fmt.Sprintf(format, args...)))
	}
	atLeast := func(limit float64, keys ...string) {
		for _, key := range keys {
			if x, err := parseFloat(c.Get(key)); err == nil && x < limit {
				fail(key, "at least %g", limit)
			}
		}
	}
	within := func(low, high float64, keys ...string) {
		for _, key := range keys {
			if x, err := parseFloat(c.Get(key)); err == nil && (x < low || x > high) {
				fail(key, "%g to %g", low, high)
			}
		}
	}
	oneOf := func(key string, choices ...string) {
		if !slices.Contains(choices, c.Get(key)) {
			fail(key, "one of %s", strings.Join(choices, ", "))
		}
	}
	pair := func(key string, values []float64) {
		if len(values) != 0 && (len(values) != 2 || values[0] <= 0 || values[1] < values[0]) {
			fail(key, "two numbers above 0, the smaller one first")
		}
	}

	atLeast(1, "batch_size", "grad_accum_steps", "epochs", "val_interval", "log_interval", "checkpoint_hist", "lr_cycle_limit")
	atLeast(0, "num_classes", "img_size", "validation_batch_size", "crop_pad", "color_jitter", "aug_repeats",
		"recount", "mixup", "cutmix", "mixup_off_epoch", "opt_eps", "weight_decay", "layer_decay", "clip_grad",
		"cooldown_epochs", "warmup_epochs", "lr", "warmup_lr", "min_lr", "decay_epochs", "decay_rate", "lr_cycle_mul",
		"lr_cycle_decay", "lr_k_decay", "max_steps", "seed", "recovery_interval", "max_skipped_steps")
	within(0, 1, "hflip", "vflip", "reprob", "mixup_prob", "mixup_switch_prob", "smoothing", "bce_target_thresh", "drop",
		"attn_drop", "model_ema_decay", "momentum", "hold_out")
	within(0, 1024, "workers", "threads") // more than any machine has use for, and each takes memory
	if c.DistTimeout <= 0 {
		fail("dist_timeout", "above 0")
	}
	if c.BucketMB <= 0 {
		fail("bucket_mb", "above 0")
	}
	if c.CropPct <= 0 || c.CropPct > 1 {
		fail("crop_pct", "above 0, at most 1")
	}
	if c.DropPath != -1 && (c.DropPath < 0 || c.DropPath >= 1) {
		fail("drop_path", "0 to below 1, or -1")
	}
	pair("scale", c.Scale)
	pair("ratio", c.Ratio)
	if len(c.OptBetas) != 0 && len(c.OptBetas) != 2 {
		fail("opt_betas", "two numbers")
	}
	if len(c.Mean) != len(c.Std) {
		fail("std", "as many numbers as mean has (%d)", len(c.Mean))
	}
	if strings.ContainsAny(c.Experiment, `/\`) || c.Experiment == "." || c.Experiment == ".." {
		fail("experiment", "a folder's name (output says where it is made)")
	}
	oneOf("opt", optim.Names()...)
	oneOf("sched", schedule.Names()...)
	oneOf("clip_mode", "norm", "value")
	oneOf("remode", "const", "rand", "pixel")
	oneOf("amp_dtype", "bfloat16", "float16")
	oneOf("device", "", "cpu", "cuda")
	return errors.Join(mistakes...)
}

func orNothing(s string) string {
	if s == "" {
		return "empty"
	}
	return s
}

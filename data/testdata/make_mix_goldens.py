#!/usr/bin/env python3
"""Writes data/augment/testdata/mix.json: batches mixed by timm's Mixup (1.0.20) with given lambda and box.

    python data/testdata/make_mix_goldens.py TIMM > data/augment/testdata/mix.json

TIMM is the folder of an unpacked timm wheel. What timm draws at random is replaced by the case's own numbers.
"""
import json
import math
import sys
import types

import torch

for name, folder in {"timm": "timm", "timm.data": "timm/data"}.items():
    package = types.ModuleType(name)
    package.__path__ = [sys.argv[1] + "/" + folder]
    sys.modules[name] = package

from timm.data import mixup  # noqa: E402

BATCH, CHANNELS, HEIGHT, WIDTH, CLASSES = 4, 2, 5, 6, 7
LABELS = [3, 0, 6, 3]


def run(lam, box, smoothing):
    """box: rows and columns (yl, yh, xl, xh) that CutMix exchanges; None is Mixup."""
    count = BATCH * CHANNELS * HEIGHT * WIDTH
    images = torch.tensor([math.sin(0.3 * i) for i in range(count)]).reshape(BATCH, CHANNELS, HEIGHT, WIDTH)
    mix = mixup.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=smoothing, num_classes=CLASSES)
    mix._params_per_batch = lambda: (lam, box is not None)
    if box:
        mixup.rand_bbox = lambda shape, lam, count=None: box
    images, targets = mix(images, torch.tensor(LABELS))
    return {"lambda": lam, "box": box, "smoothing": smoothing, "images": images.flatten().tolist(),
            "targets": targets.flatten().tolist()}


json.dump({"shape": [BATCH, CHANNELS, HEIGHT, WIDTH], "classes": CLASSES, "labels": LABELS, "cases": [
    run(0.37, None, 0.1), run(0.9, None, 0.0), run(1.0, None, 0.1), run(0.4, (1, 4, 2, 6), 0.1), run(0.8, (0, 2, 0, 1), 0.0),
]}, sys.stdout)
print()

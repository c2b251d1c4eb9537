"""A small image folder that any model learns: images.py FOLDER. Stripes one way or the other, with noise."""

import os
import sys

import numpy as np
from PIL import Image

random = np.random.default_rng(1)
for split, count in (("train", 512), ("val", 64)):
    for number, name in enumerate(["across", "down"]):
        folder = os.path.join(sys.argv[1], split, name)
        os.makedirs(folder, exist_ok=True)
        for i in range(count):
            wave = np.sin(np.arange(32) * random.uniform(0.5, 1.2) + random.uniform(0, 6.3)) * 60 + 128
            plane = np.tile(wave, (32, 1)) if number else np.tile(wave[:, None], (1, 32))
            noisy = plane[..., None] + random.normal(0, 30, (32, 32, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(os.path.join(folder, f"{i}.png"))

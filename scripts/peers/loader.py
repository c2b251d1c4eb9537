#!/usr/bin/env python3
"""Images per second and core: our loader beside torchvision and timm in a DataLoader.

    python3 -m venv V && V/bin/pip install torch==2.11.0 torchvision pillow==12.0.0 timm
    V/bin/python scripts/peers/loader.py DIR [--workers 0 1 2] [--seconds 8] [--json]

DIR is an image folder (CLASS/*.jpg) of ImageNet-sized JPEG files; the Go benchmark makes one
where it does not exist or is empty. With --json each line is one JSON object. With 0 workers Python's main process does
the work. A figure per core is the figure divided by the number of workers. Recipes:

  timm         timm's create_transform with the official recipe: random-resized-crop with
               random interpolation, flip, rand-m9-mstd0.5-inc1, random erasing 0.25 (pixel);
               the same that our loader does
  torchvision  the nearest that torchvision.transforms offers: RandomResizedCrop (bicubic),
               flip, RandAugment(2, 9), normalisation, RandomErasing(0.25)
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import time

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from timm.data import create_transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def timm_recipe():
    return create_transform(224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", color_jitter=0.4,
                            interpolation="random", re_prob=0.25, re_mode="pixel", re_count=1, mean=MEAN, std=STD)


def torchvision_recipe():
    return transforms.Compose([
        transforms.RandomResizedCrop(224, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(),
        transforms.RandAugment(2, 9),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
        transforms.RandomErasing(0.25, value="random"),
    ])


def row(loader, workers, rate, core, as_json):
    if as_json:
        print(json.dumps({"loader": loader, "workers": workers, "images_per_second": rate, "per_core": core}), flush=True)
    else:
        print(f"{loader:12s} {workers:8d} {rate:10.1f} {core:12.1f}", flush=True)


def ours(folder, seconds, as_json):
    """Runs the Go benchmark and returns its best figure per core."""
    repo = pathlib.Path(__file__).resolve().parent.parent.parent
    out = subprocess.run(["go", "test", "-run", "^$", "-bench", "BenchmarkLoader", "-benchtime", f"{seconds}s", "./data"], cwd=repo,
                         env={**os.environ, "GONATTEN_BENCH_IMAGES": os.path.abspath(folder)}, check=True, stdout=subprocess.PIPE, text=True).stdout
    best = 0
    for workers, total, core in re.findall(r"workers=(\d+)\S*\s.*?([\d.]+) images/s\s+([\d.]+) images/s/core", out):
        row("gonatten", int(workers), float(total), float(core), as_json)
        best = max(best, float(core))
    return best


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir")
    p.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--seconds", type=float, default=8)
    p.add_argument("--recipes", nargs="+", default=["timm", "torchvision"])
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(1)
    if not args.json:
        print(f"{'loader':12s} {'workers':>8s} {'images/s':>10s} {'of one core':>12s}")
    go, best = ours(args.dir, args.seconds, args.json), {}
    for recipe in args.recipes:
        ds = datasets.ImageFolder(args.dir, transform={"timm": timm_recipe, "torchvision": torchvision_recipe}[recipe]())
        ds.samples = ds.samples * 200  # one pass must outlast the measurement
        for workers in args.workers:
            loader = DataLoader(ds, batch_size=32, shuffle=True, num_workers=workers, persistent_workers=False)
            n, start = 0, None
            for i, (images, _) in enumerate(loader):
                if i == 2:  # warm
                    start = time.perf_counter()
                elif i > 2:
                    n += len(images)
                    if time.perf_counter() - start > args.seconds:
                        break
            rate = n / (time.perf_counter() - start)
            row(recipe, workers, round(rate, 1), round(rate / max(1, workers), 1), args.json)
            best[recipe] = max(best.get(recipe, 0), rate / max(1, workers))
    if args.json:
        print(json.dumps({"ours_over_" + recipe: round(go / rate, 2) for recipe, rate in best.items()}))
    else:
        print("of one core, best of each: " + ", ".join(f"{go / rate:.2f} times {recipe}'s" for recipe, rate in best.items()))


if __name__ == "__main__":
    main()

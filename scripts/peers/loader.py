#!/usr/bin/env python3
"""Images per second and core of Python loaders, for comparison with ours.

    python3 -m venv V && V/bin/pip install torch==2.11.0 torchvision pillow==12.0.0 timm
    V/bin/python scripts/peers/loader.py DIR [--workers 0 1 2] [--seconds 8]

DIR is an image folder (CLASS/*.jpg) of ImageNet-sized JPEGs; `go test` in data/loadbench
makes one. Each line is one JSON object. With 0 workers the main process does the work; the
figure per core divides by the number of processes that decode. Recipes:

  timm         timm's create_transform with the official recipe: random-resized-crop with
               random interpolation, flip, rand-m9-mstd0.5-inc1, random erasing 0.25 (pixel)
  torchvision  the nearest that torchvision.transforms offers: RandomResizedCrop (bicubic),
               flip, RandAugment(2, 9), normalisation, RandomErasing(0.25)
"""
import argparse
import json
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


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir")
    p.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--seconds", type=float, default=8)
    p.add_argument("--recipes", nargs="+", default=["timm", "torchvision"])
    args = p.parse_args()
    torch.set_num_threads(1)
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
            print(json.dumps({"loader": recipe, "workers": workers, "images_per_second": round(rate, 1),
                              "per_core": round(rate / max(1, workers), 1)}), flush=True)


if __name__ == "__main__":
    main()

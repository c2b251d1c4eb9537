#!/usr/bin/env python3
"""Makes the reference inputs of data/augment's evaluation pipeline with timm itself.

    python3 -m venv V && V/bin/pip install torch torchvision pillow==12.0.0 timm
    V/bin/python data/testdata/make_eval_goldens.py

Each file of data/codec/testdata that is large enough goes through timm's evaluation transform;
the result before normalisation is kept as a PNG file, the case in cases.json.
"""
import json
import pathlib

from PIL import Image
from timm.data import create_transform

DATA = pathlib.Path(__file__).resolve().parent.parent
OUT = DATA / "augment" / "testdata"


def main():
    OUT.mkdir(exist_ok=True)
    for old in OUT.glob("*.*"):
        old.unlink()
    cases = []
    for source in ("s420", "s422", "s444", "progressive", "gray"):
        img = Image.open(DATA / "codec" / "testdata" / f"{source}.jpg").convert("RGB")
        for size, pct, interpolation in ((32, 0.875, "bicubic"), (32, 1.0, "bicubic"), (48, 0.9, "bilinear"), ((24, 40), 0.875, "bicubic")):
            transform = create_transform(size, is_training=False, crop_pct=pct, interpolation=interpolation, normalize=False)
            height, width = size if isinstance(size, tuple) else (size, size)
            name = f"eval_{source}_{width}x{height}_{pct}_{interpolation}"
            Image.fromarray(transform(img).permute(1, 2, 0).numpy()).save(OUT / f"{name}.png", optimize=True)
            cases.append({"name": name, "source": f"{source}.jpg", "op": "eval",
                          "args": {"size": [width, height], "factor": pct, "filter": interpolation}})
    (OUT / "cases.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()

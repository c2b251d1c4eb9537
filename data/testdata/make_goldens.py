#!/usr/bin/env python3
"""Makes the reference pictures of data/resample, data/imageops and data/codec with Pillow.

    python3 -m venv V && V/bin/pip install pillow==12.0.0 numpy
    V/bin/python data/testdata/make_goldens.py

Each folder gets source pictures, one result per case and cases.json, a list of
{"name", "source", "op", "args"}; the result is NAME.png. The sources are drawn from a
fixed seed, so a second run changes nothing.
"""
import io
import json
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

DATA = pathlib.Path(__file__).resolve().parent.parent
FILTERS = {"nearest": Image.NEAREST, "box": Image.BOX, "bilinear": Image.BILINEAR,
           "hamming": Image.HAMMING, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}


def scene(width, height, seed):
    """A picture with what photographs have: smooth shading, edges, fine texture, noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = []
    for _ in range(3):
        a, b, c, d = rng.uniform(0.02, 0.12, 4)
        planes.append(120 + 60 * np.sin(a * x + b * y) + 45 * np.cos(c * x - d * y + rng.uniform(0, 6)))
    img = Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(img)
    for _ in range(6):
        x0, y0 = rng.integers(0, width), rng.integers(0, height)
        box = [int(x0), int(y0), int(x0 + rng.integers(3, width // 2)), int(y0 + rng.integers(3, height // 2))]
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=colour)
    noise = rng.normal(0, 6, (height, width, 1)) + rng.normal(0, 3, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(img) + noise, 0, 255).astype(np.uint8))


class Folder:
    """One testdata folder: its pictures and the list of cases."""

    def __init__(self, package):
        self.dir = DATA / package / "testdata"
        self.dir.mkdir(parents=True, exist_ok=True)
        for old in self.dir.glob("*.*"):
            old.unlink()
        self.cases = []

    def source(self, name, img):
        img.save(self.dir / f"{name}.png", optimize=True)
        return name, img

    def add(self, source, op, result, **args):
        name = f"{source}_{op}" + "".join(f"_{v}" for v in args.values())
        name = name.replace("(", "").replace(")", "").replace(", ", "x").replace("[", "").replace("]", "")
        result.save(self.dir / f"{name}.png", optimize=True)
        self.cases.append({"name": name, "source": source, "op": op, "args": args})

    def close(self):
        text = ",\n".join(json.dumps(c) for c in self.cases)
        (self.dir / "cases.json").write_text(f"[\n{text}\n]\n")
        size = sum(f.stat().st_size for f in self.dir.iterdir())
        print(f"{self.dir.relative_to(DATA.parent)}: {len(self.cases)} cases, {size // 1024} kB")


def resample():
    f = Folder("resample")
    rgb = f.source("rgb", scene(83, 59, 1))
    gray = f.source("gray", scene(47, 41, 2).convert("L"))
    for name, img in (rgb, gray):
        w, h = img.size
        for filt, code in FILTERS.items():
            for size in ((32, 32), (w + 20, h + 7), (w, 20), (19, h)):
                f.add(name, "resize", img.resize(size, code), size=list(size), filter=filt)
            box = (5, 7, w - 9, h - 4)
            f.add(name, "crop", img.crop(box).resize((28, 28), code), box=list(box), size=[28, 28], filter=filt)
    f.close()


def hue(img, shift):
    """torchvision.transforms.functional.adjust_hue, for Pillow images."""
    h, s, v = img.convert("HSV").split()
    turned = (np.asarray(h).astype(np.int32) + int(np.int32(shift * 255).astype(np.uint8))) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8), "L"), s, v)).convert("RGB")


def solarize_add(img, add, threshold):
    lut = [min(255, i + add) if i < threshold else i for i in range(256)]
    return img.point(lut * len(img.getbands()))


def imageops():
    f = Folder("imageops")
    low = scene(41, 33, 5).point(lambda v: 60 + v // 3)
    for name, img in (f.source("rgb", scene(61, 47, 3)), f.source("gray", scene(37, 43, 4).convert("L")), f.source("low", low)):
        f.add(name, "autocontrast", ImageOps.autocontrast(img))
        f.add(name, "equalize", ImageOps.equalize(img))
        for factor in (0.1, 0.55, 1.0, 1.37, 1.9):
            for op, cls in (("color", ImageEnhance.Color), ("contrast", ImageEnhance.Contrast),
                            ("brightness", ImageEnhance.Brightness), ("sharpness", ImageEnhance.Sharpness)):
                if op != "color" or img.mode == "RGB":
                    f.add(name, op, cls(img).enhance(factor), factor=factor)
        if name == "low":
            continue
        f.add(name, "invert", ImageOps.invert(img))
        for bits in (1, 2, 4, 7):
            f.add(name, "posterize", ImageOps.posterize(img, bits), bits=bits)
        for threshold in (0, 26, 128, 256):
            f.add(name, "solarize", ImageOps.solarize(img, threshold), threshold=threshold)
        for add in (11, 110):
            f.add(name, "solarize_add", solarize_add(img, add, 128), add=add, threshold=128)
        f.add(name, "flip_h", img.transpose(Image.FLIP_LEFT_RIGHT))
        f.add(name, "flip_v", img.transpose(Image.FLIP_TOP_BOTTOM))
        fill = (124, 116, 104) if img.mode == "RGB" else 124
        for filt in ("nearest", "bilinear", "bicubic"):
            code = FILTERS[filt]
            for op, values, matrix in (("shear_x", (0.27, -0.3), lambda v: (1, v, 0, 0, 1, 0)),
                                       ("shear_y", (0.27, -0.13), lambda v: (1, 0, 0, v, 1, 0)),
                                       ("translate_x", (7.37, -20.0), lambda v: (1, 0, v, 0, 1, 0)),
                                       ("translate_y", (-11.21, 18.0), lambda v: (1, 0, 0, 0, 1, v))):
                for v in values:
                    f.add(name, op, img.transform(img.size, Image.AFFINE, matrix(v), code, fillcolor=fill), value=v, filter=filt)
            for degrees in (13.7, -27.0, 30.0):
                f.add(name, "rotate", img.rotate(degrees, code, fillcolor=fill), value=degrees, filter=filt)
    name, img = "rgb", scene(61, 47, 3)
    for shift in (-0.5, -0.1, 0.07, 0.3):
        f.add(name, "hue", hue(img, shift), shift=shift)
    f.close()


def codec():
    f = Folder("codec")

    def add(name, img, **save):
        buf = io.BytesIO()
        img.save(buf, "JPEG", **save)
        (f.dir / f"{name}.jpg").write_bytes(buf.getvalue())
        out = Image.open(io.BytesIO(buf.getvalue()))
        out.load()
        out = out if out.mode == "L" else out.convert("RGB")
        out.save(f.dir / f"{name}.png", optimize=True)
        f.cases.append({"name": name, "source": f"{name}.jpg", "op": "decode", "args": {}})
        for scale in (2, 4, 8) if min(img.size) >= 8 else ():
            small = Image.open(io.BytesIO(buf.getvalue()))
            small.draft(None, (small.width // scale, small.height // scale))
            small.load()
            want = (-(-img.width // scale), -(-img.height // scale))
            if small.size == want and img.mode != "CMYK":
                small.save(f.dir / f"{name}_{scale}.png", optimize=True)
                f.cases.append({"name": f"{name}_{scale}", "source": f"{name}.jpg", "op": "decode", "args": {"scale": scale}})

    add("s420", scene(99, 75, 10), quality=90, subsampling="4:2:0")
    add("s422", scene(67, 50, 11), quality=85, subsampling="4:2:2")
    add("s444", scene(50, 67, 12), quality=95, subsampling="4:4:4")
    add("optimized", scene(45, 53, 19), quality=80, subsampling="4:2:0", optimize=True)
    add("gray", scene(61, 44, 13).convert("L"), quality=80)
    add("low", scene(64, 64, 14), quality=12, subsampling="4:2:0")
    add("high", scene(40, 33, 15), quality=100, subsampling="4:4:4")
    add("tiny", scene(20, 20, 16).crop((0, 0, 3, 5)), quality=90, subsampling="4:2:0")
    add("restart", scene(80, 64, 17), quality=75, subsampling="4:2:0", restart_marker_blocks=2)
    add("progressive", scene(71, 58, 18), quality=85, subsampling="4:2:0", progressive=True)
    add("cmyk", scene(33, 30, 20).convert("CMYK"), quality=90)
    f.close()


if __name__ == "__main__":
    resample()
    imageops()
    codec()

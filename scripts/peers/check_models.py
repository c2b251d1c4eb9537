#!/usr/bin/env python3
"""Check in Python what the natten command writes of models.

Run with the peers' Python (requirements.txt) after `make build`, from anywhere. For each HuggingFace folder of the tests:
`natten export` gives a script that PyTorch runs with libnatten.so loaded, and `natten convert` a .pth that
torch.load(weights_only=True) reads; the script and a plain PyTorch forward over the .pth both give the reference's
logits, and scripts also work for other batches and sizes, and in float64.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import safetensors.torch
import torch

import official

ROOT = pathlib.Path(__file__).resolve().parents[2]
NATTEN = ROOT / "bin" / "natten"


def largest(a, b):
    return (a - b).abs().max().item()


def run(*arguments):
    subprocess.run([NATTEN, *arguments], check=True, stdout=subprocess.DEVNULL)


def check(name, folder):
    source = ROOT / "checkpoint/testdata/hf" / name
    reference = safetensors.torch.load_file(ROOT / "models/testdata/golden/hf" / name / "io.safetensors")
    config = json.loads((source / "config.json").read_text())
    image, logits = reference["image"], reference["logits"]
    script_file, large_file, weights_file = folder / f"{name}.pt", folder / f"{name}_large.pt", folder / f"{name}.pth"
    size = "x".join(str(n) for n in image.shape[2:])
    run("export", "--checkpoint", source, "--size", size, script_file)
    run("export", "--checkpoint", source, "--size", "160x192", large_file)  # no level needs padding there
    run("convert", source, weights_file)

    extra = {"natten.json": ""}
    script = torch.jit.load(script_file, _extra_files=extra).eval()
    said = json.loads(extra["natten.json"])
    weights = torch.load(weights_file, weights_only=True)
    assert said["config"]["num_classes"] == logits.shape[1], said
    assert set(weights) == set(script.state_dict()), name
    assert all(torch.equal(weights[k], v) for k, v in script.state_dict().items()), name

    def plain(x):
        return official.forward(weights, x, config["depths"], config["num_heads"], config["kernel_size"], config.get("dilations"))

    with torch.no_grad():
        found = {"script, float32": largest(script(image), logits)}
        double = torch.jit.load(script_file).double()
        found["script, float64"] = largest(double(image.double()), logits)
        found["plain forward, float64"] = largest(plain(image.double()), logits)
        more = torch.cat([image, image.flip(0), image.flip(3)])
        found["other batch, float64"] = largest(double(more.double()), plain(more.double()))
        large = torch.jit.load(large_file).double()
        larger = torch.nn.functional.interpolate(image.double(), size=(208, 176))
        found["other size, float64"] = largest(large(larger), plain(larger))
    for what, difference in found.items():
        limit = 1e-5 if "float32" in what else 1e-9
        print(f"  {name:12s} {what:24s} {difference:.2g}")
        if not difference <= limit:
            sys.exit(f"{name}: {what} differs by {difference}, more than {limit}")


def main():
    torch.ops.load_library(str(ROOT / "build/lib/libnatten.so"))
    with tempfile.TemporaryDirectory() as folder:
        for name in ["hf_nat", "hf_dinat_ls"]:
            check(name, pathlib.Path(folder))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compare package checkpoint with torch.load and safetensors.

Run with the peers' Python (scripts/peers/requirements.txt) from anywhere:
    check_checkpoints.py [--golden DIR] [--bench] [--keep DIR]

1. Files of many kinds, written by Python here or kept in testdata, are copied by package checkpoint to .safetensors and
   to .pth; both are read back by safetensors.torch.load_file and torch.load(weights_only=True) and compared bit by bit
   with what Python reads from the original.
2. With --golden (a folder of the layout that golden/README.md describes): files written by package checkpoint give the
   golden logits in a plain PyTorch forward, official and HuggingFace layouts.
3. With --keep DIR: write some of the files that Python makes, each beside a .safetensors of what it holds, for the Go
   tests (checkpoint/testdata/python).
4. With --bench: loading 360 MB of NAT-Base weights, Go and Python in turn.
"""

import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import types

import numpy
import safetensors.torch
import torch

import official

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTDATA = ROOT / "checkpoint" / "testdata"


class Net(torch.nn.Module):
    """A module whose pickle names a class that only this script has."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 3)
        self.body = torch.nn.Sequential(torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))
        self.register_buffer("table", torch.arange(6).view(2, 3))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x):
        return self.body(self.stem(x))


def make_files(folder):
    """Writes files with Python and returns {path: the tensors they hold}."""
    torch.manual_seed(0)
    out = {}

    def save(name, obj, tensors, **options):
        torch.save(obj, folder / name, **options)
        out[folder / name] = {k: v.detach().clone() for k, v in tensors.items()}

    floats = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
    ints = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64]
    every = {str(t): torch.randn(3, 5).to(t) for t in floats}
    every |= {str(t): torch.randint(0, 100, (3, 5)).to(t) for t in ints}
    every |= {"bool": torch.rand(7) > 0.5, "c64": torch.randn(3, dtype=torch.complex64)}
    every |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4)}
    save("every_type.pth", every, every)
    plain = {k: v for k, v in every.items() if not k.startswith(("torch.float8", "torch.uint16", "torch.uint32", "torch.uint64"))}
    save("legacy.pth", plain, plain, _use_new_zipfile_serialization=False)

    base = torch.randn(6, 8, 4)
    views = {
        "base": base,
        "permuted": base.permute(2, 0, 1),
        "sliced": base[1:5:2, ::3, 1:],
        "row": base[2],
        "diagonal": base[:, :4, 0].diagonal(),
        "expanded": base[:1, :1].expand(6, 8, 4),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "tied": base,
    }
    save("views.pth", views, views)
    save("views_legacy.pth", views, views, _use_new_zipfile_serialization=False)

    net = Net()
    save("whole_module.pth", net, net.state_dict())
    for name, key in [("nested_model", "model"), ("nested_state_dict", "state_dict")]:
        optimizer = torch.optim.AdamW(net.parameters())
        net(torch.randn(2, 3, 8, 8)).sum().backward()
        optimizer.step()
        wrapped = {"module." + k: v for k, v in net.state_dict().items()}
        obj = {
            key: wrapped,
            "optimizer": optimizer.state_dict(),
            "epoch": 4,
            "metric": numpy.float64(81.5),
            "args": argparse.Namespace(lr=1e-3, out=pathlib.PurePosixPath("a/b")),
            "space": types.SimpleNamespace(a=1),
        }
        save(name + ".pth", obj, wrapped)
    params = collections.OrderedDict((k, torch.nn.Parameter(v)) for k, v in net.state_dict().items() if v.is_floating_point())
    save("parameters.pth", params, {k: v.detach() for k, v in params.items()})
    for protocol in (2, 3, 4, 5):
        save(f"protocol{protocol}.pth", net.state_dict(), net.state_dict(), pickle_protocol=protocol)
    torch.jit.save(torch.jit.script(net), folder / "script.pt")
    # TorchScript keeps every buffer, also those that a state dict leaves out.
    out[folder / "script.pt"] = dict(net.named_parameters()) | dict(net.named_buffers())
    safetensors.torch.save_file({k: v.contiguous() for k, v in every.items()}, folder / "python.safetensors")
    out[folder / "python.safetensors"] = every
    return out


def kept_files():
    """The files in testdata, as Python reads them."""
    out = {}
    for path in sorted(TESTDATA.rglob("*.pth")) + sorted(TESTDATA.rglob("*.bin")) + sorted(TESTDATA.rglob("*.tar")):
        if path.name in KEPT:
            continue  # made afresh above
        obj = torch.load(path, weights_only=False)
        if isinstance(obj, dict):
            obj = obj.get("state_dict", obj.get("model", obj))
        out[path] = {k: v.detach() for k, v in obj.items() if isinstance(v, torch.Tensor)}
    for path in sorted(TESTDATA.rglob("*.safetensors")):
        out[path] = safetensors.torch.load_file(path)
    return out


def raw(t):
    t = t.detach().contiguous()
    return bytes(t.reshape(-1).view(torch.uint8).numpy().tobytes()) if t.numel() else b""


def same(want, got):
    """Names, types, shapes and bits."""
    assert set(want) == set(got), f"names differ: {sorted(set(want) ^ set(got))[:5]}"
    for name, w in want.items():
        g = got[name]
        assert w.dtype == g.dtype and w.shape == g.shape, f"{name}: {g.dtype} {list(g.shape)}"
        assert raw(w) == raw(g), f"{name}: values differ"


def check_values(ckpt, folder):
    files = make_files(folder) | kept_files()
    for path, want in files.items():
        st, pth = folder / "copy.safetensors", folder / "copy.pth"
        subprocess.run([ckpt, "copy", path, st], check=True)
        same(want, safetensors.torch.load_file(st))
        subprocess.run([ckpt, "copy", st, pth], check=True)
        same(want, torch.load(pth, weights_only=True))
        same(want, torch.load(pth, weights_only=True, mmap=True))
        subprocess.run([ckpt, "copy", path, pth], check=True)
        same(want, torch.load(pth, weights_only=True))
        print(f"ok   {len(want):4d} tensors  {path.name}")
    return len(files)


KEPT = ("every_type.pth", "views.pth", "views_legacy.pth", "whole_module.pth", "nested_model.pth", "script.pt")


def keep(folder):
    """Writes the files of KEPT and what they hold. The duplicates that views make are written out."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        for path, tensors in make_files(pathlib.Path(tmp)).items():
            if path.name in KEPT:
                (folder / path.name).write_bytes(path.read_bytes())
                plain = {k: v.contiguous().clone() for k, v in tensors.items()}
                safetensors.torch.save_file(plain, folder / (path.stem + ".safetensors"))


def check_logits(ckpt, golden, folder):
    cases = 0
    for model in json.loads((golden / "models" / "index.json").read_text())["models"]:
        if model["family"] not in ("NAT", "DiNAT"):
            continue
        source = golden / "models" / model["name"]
        kwargs = {k: model["kwargs"].get(k) for k in ("depths", "num_heads", "kernel_size", "dilations")}
        io = safetensors.torch.load_file(source / "io.safetensors")
        for name in model["files"]:
            if not name.startswith(("weights", "checkpoint")):
                continue
            for out in ("official.safetensors", "official.pth"):
                subprocess.run([ckpt, "official", source / name, folder / out], check=True)
                cases += compare(load(folder / out), io, kwargs, f"{model['name']}/{name} -> {out}")
    for source in sorted((golden / "hf").iterdir()):
        info = json.loads((source / "info.json").read_text())
        kwargs = {k: info["official_kwargs"].get(k) for k in ("depths", "num_heads", "kernel_size", "dilations")}
        io = safetensors.torch.load_file(source / "io.safetensors")
        for name in ("model.safetensors", "pytorch_model.bin"):
            subprocess.run([ckpt, "official", source / name, folder / "official.pth"], check=True)
            cases += compare(load(folder / "official.pth"), io, kwargs, f"{source.name}/{name} -> official.pth")
        # official -> HuggingFace gives transformers' file back.
        subprocess.run([ckpt, "hf", folder / "official.pth", source / "config.json", folder / "hf"], check=True)
        same(safetensors.torch.load_file(source / "model.safetensors"), load(folder / "hf" / "model.safetensors"))
        config = json.loads((source / "config.json").read_text())
        config.pop("transformers_version")
        assert config == json.loads((folder / "hf" / "config.json").read_text()), "config.json differs"
        cases += 1
    return cases


def load(path):
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    return torch.load(path, weights_only=True)


def compare(sd, io, kwargs, what):
    logits = official.forward(sd, io["image"].double(), **kwargs)
    error = (logits - io["logits"]).abs().max().item()
    assert error < 1e-9, f"{what}: logits differ by {error:.3g}"
    print(f"ok   logits within {error:.1e}  {what}")
    return 1


def bench(ckpt, golden, folder, rounds=9):
    """Loads NAT-Base's weights into parameters that are there already: Go and Python in turn, page cache warm."""
    torch.manual_seed(0)
    rows = json.loads((golden / "keys" / "nat_base.json").read_text())
    rows = rows if isinstance(rows, list) else rows["rows"]
    sd = {name: torch.randn(shape) for name, shape, *_ in rows}
    size = sum(t.numel() * 4 for t in sd.values())
    params = {k: torch.zeros_like(v) for k, v in sd.items()}
    st, pth, own = folder / "base.safetensors", folder / "base.pth", folder / "base_own.safetensors"
    safetensors.torch.save_file(sd, st)
    torch.save(sd, pth)
    subprocess.run([ckpt, "copy", st, own], check=True)

    def python(read):
        start = time.perf_counter()
        loaded = read()
        for k, p in params.items():
            p.copy_(loaded[k])
        return time.perf_counter() - start

    def go(path):
        out = subprocess.run([ckpt, "load", path, "1"], check=True, capture_output=True, text=True)
        return [float(x) for x in out.stdout.split()]

    peers = {
        "safetensors": (st, lambda: safetensors.torch.load_file(st)),
        "torch.load": (pth, lambda: torch.load(pth, weights_only=True)),
        "torch.load mmap": (pth, lambda: torch.load(pth, weights_only=True, mmap=True)),
        "safetensors, with our checksum": (own, lambda: safetensors.torch.load_file(own)),
    }
    print(f"NAT-Base, {size / 1e6:.0f} MB, {torch.get_num_threads()} threads, median of {rounds} (seconds)")
    results = {}
    for name, (path, read) in peers.items():
        theirs, ours, opens = [], [], []
        python(read)
        for _ in range(rounds):
            theirs.append(python(read))
            opened, total = go(path)
            ours.append(total)
            opens.append(opened)
        t, o = statistics.median(theirs), statistics.median(ours)
        results[name] = o / t
        print(f"  {name:32s} Python {t:.3f}  Go {o:.3f} (open {statistics.median(opens):.3f})  ratio {o / t:.2f}")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=pathlib.Path)
    parser.add_argument("--bench", action="store_true")
    parser.add_argument("--keep", type=pathlib.Path)
    args = parser.parse_args()
    if args.keep:
        keep(args.keep)
        return
    with tempfile.TemporaryDirectory() as tmp:
        folder = pathlib.Path(tmp)
        ckpt = folder / "ckpt"
        subprocess.run(["go", "build", "-o", ckpt, "./scripts/peers/ckpt"], cwd=ROOT, check=True)
        if args.bench:
            worst = max(bench(ckpt, args.golden, folder).values())
            sys.exit(0 if worst <= 1.2 else 1)
        n = check_values(ckpt, folder)
        print(f"{n} files: safetensors and torch.load(weights_only=True) read the same bits")
        if args.golden:
            print(f"{check_logits(ckpt, args.golden, folder)} golden cases")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Training step and evaluation of NAT-Mini: this project's beside PyTorch with NATTEN 0.17.5, in one run.

    ~/.cache/gonatten/peers/bin/python scripts/peers/step.py [--batch 8] [--size 224] [--rounds 3] [--json]

The Python model is the official one's layers in plain PyTorch, attention by natten.NeighborhoodAttention2D (optimised
CPU build). A training step is forward, backward, clipping of the gradients' norm and AdamW in float32. `natten bench
--model` runs before and after the Python measurement, so that a change of the machine's speed shows. From Go's CPU
profile comes what is spent outside of C; calls into C are counted and priced one by one.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from torch import nn

import natten_cpu  # noqa: F401  before natten
from natten import NeighborhoodAttention2D

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIM, DEPTHS, HEADS, KERNEL, RATIO, DROP_PATH = 64, [3, 4, 6, 5], [2, 4, 8, 16], 7, 3, 0.2


class Block(nn.Module):
    def __init__(self, dim, heads, drop_path):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = NeighborhoodAttention2D(dim, heads, KERNEL, rel_pos_bias=True)
        self.fc1, self.fc2 = nn.Linear(dim, RATIO * dim), nn.Linear(RATIO * dim, dim)
        self.drop_path = drop_path

    def drop(self, x):
        if self.drop_path == 0 or not self.training:
            return x
        keep = 1 - self.drop_path
        return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep).div_(keep)

    def forward(self, x):
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.drop(self.fc2(F.gelu(self.fc1(self.norm2(x)))))


class NATMini(nn.Module):
    def __init__(self, classes=1000):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, DIM // 2, 3, 2, 1), nn.Conv2d(DIM // 2, DIM, 3, 2, 1))
        self.stem_norm = nn.LayerNorm(DIM)
        rates = torch.linspace(0, DROP_PATH, sum(DEPTHS)).tolist()
        self.levels, self.reductions, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, depth in enumerate(DEPTHS):
            dim = DIM * 2**i
            self.levels.append(nn.Sequential(*(Block(dim, HEADS[i], rates.pop(0)) for _ in range(depth))))
            if i + 1 < len(DEPTHS):
                self.reductions.append(nn.Conv2d(dim, 2 * dim, 3, 2, 1, bias=False))
                self.norms.append(nn.LayerNorm(2 * dim))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, x):
        x = self.stem_norm(self.stem(x).permute(0, 2, 3, 1))
        for i, level in enumerate(self.levels):
            x = level(x)
            if i < len(self.reductions):
                x = self.norms[i](self.reductions[i](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return self.head(self.norm(x).flatten(1, 2).mean(1))


def python_times(batch, size, rounds):
    """Seconds of each training step and evaluation, after one of each that is not timed."""
    torch.manual_seed(1)
    model = NATMini()
    assert sum(p.numel() for p in model.parameters()) == 19_984_174, "NAT-Mini has 19,984,174 parameters"
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], lr=1e-4)
    images, labels = torch.randn(batch, 3, size, size), torch.randint(1000, (batch,))
    train, evaluate = [], []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
        opt.step()
        opt.zero_grad()
        train.append(time.perf_counter() - start)
    model.eval()
    with torch.no_grad():
        for _ in range(rounds + 1):
            start = time.perf_counter()
            model(images)
            evaluate.append(time.perf_counter() - start)
    return train[1:], evaluate[1:]


STEPS = 5  # timed, and profiled


def ours(args, profile):
    out = subprocess.run([ROOT / "bin/natten", "bench", "--model", "nat_mini", "--json", "--quiet", "--batch", str(args.batch),
                          "--size", str(args.size), "--steps", str(STEPS), "--threads", str(args.threads), "--profile", profile],
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)


def outside_c(profile):
    """CPU seconds that Go's profile has outside of C, and all of its CPU seconds."""
    top = subprocess.run(["go", "tool", "pprof", "-top", "-nodecount=0", "-nodefraction=0", "-unit=s", ROOT / "bin/natten", profile],
                         check=True, capture_output=True, text=True).stdout
    total = go = 0.0
    for line in top.splitlines():
        match = re.match(r"\s*([\d.]+)s\s+[\d.]+%\s+[\d.]+%\s+[\d.]+s\s+[\d.]+%\s+(.*)", line)
        if not match:
            continue
        seconds, name = float(match[1]), match[2]
        total += seconds
        # Go's names have their package before a dot; C's have none, C++'s have colons, libraries are in brackets.
        inside = name.startswith(("runtime.cgocall", "runtime._ExternalCode", "[", "<")) or "::" in name or "." not in name
        if not inside:
            go += seconds
    return go, total


def show(r):
    print(f"NAT-Mini at {r['size']}, batch {r['batch']}, {r['threads']} threads; ms, ours before and after Python's")
    print(f"{'':12s} {'gonatten':>16s} {'natten 0.17.5':>16s} {'ratio':>8s}")
    for name, key in (("training step", "train"), ("evaluation", "evaluate")):
        here, there = r[key + "_ms"]["gonatten"], r[key + "_ms"]["natten 0.17.5"]
        print(f"{name:13s} {' '.join(f'{x:.0f}' for x in here):>15s} {statistics.median(there):16.0f} {r[key + '_ratio']:8.3f}")
    print(f"of the training step, outside of C: {', '.join(f'{100 * x:.1f}%' for x in r['go_share_of_step'])}; calls into C: "
          f"{', '.join(f'{100 * x:.3f}%' for x in r['cgo_share_of_step'])} ({r['cgo_calls_per_step']:.0f} calls)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="at least 224: smaller levels would need padding")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if "GOMP_SPINCOUNT" not in os.environ:  # as natten train sets it; libtorch's threads read it when torch is imported
        os.environ["GOMP_SPINCOUNT"] = "1000"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        profiles = [str(pathlib.Path(folder, f"{i}.pprof")) for i in range(2)]
        before = ours(args, profiles[0])
        train, evaluate = python_times(args.batch, args.size, args.rounds)
        after = ours(args, profiles[1])
        shares = []
        for report, profile in zip((before, after), profiles):
            go, total = outside_c(profile)
            wall = STEPS * report["train"]["median_seconds"]
            shares.append((go / wall, total / wall))
    result = {
        "batch": args.batch, "size": args.size, "threads": args.threads,
        "train_ms": {"gonatten": [round(1e3 * r["train"]["median_seconds"], 1) for r in (before, after)],
                     "natten 0.17.5": [round(1e3 * s, 1) for s in train]},
        "evaluate_ms": {"gonatten": [round(1e3 * r["evaluate"]["median_seconds"], 1) for r in (before, after)],
                        "natten 0.17.5": [round(1e3 * s, 1) for s in evaluate]},
        # The slower of our two medians over the median of theirs.
        "train_ratio": round(max(r["train"]["median_seconds"] for r in (before, after)) / statistics.median(train), 3),
        "evaluate_ratio": round(max(r["evaluate"]["median_seconds"] for r in (before, after)) / statistics.median(evaluate), 3),
        "go_share_of_step": [round(go, 4) for go, _ in shares],
        "cpu_per_wall": [round(total, 2) for _, total in shares],
        "cgo_share_of_step": [round(r["cgo_calls"] * r["cgo_nanoseconds"] * 1e-9 / r["train"]["median_seconds"], 5) for r in (before, after)],
        "cgo_calls_per_step": before["cgo_calls"],
    }
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)
    if result["train_ratio"] > 0.25 or result["evaluate_ratio"] > 0.25:
        sys.exit("more than a quarter of the time with NATTEN 0.17.5")


if __name__ == "__main__":
    main()

"""Counting DiNAT-Large at 384: `natten flops` against fvcore, from process start to printed result.

fvcore counts with NATTEN 0.17.5's handles, in a process of its own, the same model written with NATTEN's module: it
traces a real forward pass. The counts must be equal; times are medians, memory is the largest resident set.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

MODEL = "dinat_large_384"


def build():
    """DiNAT-Large at 384 by the paper (arXiv 2209.15001): only shapes matter here, weights are as they come."""
    import natten_cpu  # noqa: F401  first: natten does not import without it
    import natten
    from torch import nn

    def convolution(cin, cout, bias=True):
        return nn.Conv2d(cin, cout, 3, 2, 1, bias=bias)

    class Block(nn.Module):
        def __init__(self, dim, dilation):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.attn = natten.NeighborhoodAttention2D(dim, dim // 32, kernel_size=7, dilation=dilation, rel_pos_bias=True)
            self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

        def forward(self, x):
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class DiNAT(nn.Module):
        def __init__(self, dim=192, depths=(3, 4, 18, 5), dilations=(13, 6, 3, 1)):
            super().__init__()
            self.stem = nn.Sequential(convolution(3, dim // 2), convolution(dim // 2, dim))
            self.stem_norm = nn.LayerNorm(dim)
            self.levels, self.down, self.down_norm = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
            for i, (depth, dilation) in enumerate(zip(depths, dilations)):
                width = dim << i
                self.levels.append(nn.Sequential(*(Block(width, 1 if j % 2 == 0 else dilation) for j in range(depth))))
                if i + 1 < len(depths):
                    self.down.append(convolution(width, 2 * width, bias=False))
                    self.down_norm.append(nn.LayerNorm(2 * width))
            self.norm, self.pool = nn.LayerNorm(width), nn.AdaptiveAvgPool1d(1)
            self.head = nn.Linear(width, 1000)

        def forward(self, x):
            x = self.stem_norm(self.stem(x).permute(0, 2, 3, 1))
            for i, level in enumerate(self.levels):
                x = level(x)
                if i < len(self.down):
                    x = self.down_norm[i](self.down[i](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
            x = self.norm(x).flatten(1, 2)
            return self.head(self.pool(x.transpose(1, 2)).flatten(1))

    return DiNAT().eval()


def count():
    """The child process: prints MACs and parameters by fvcore."""
    import torch

    model = build()
    from fvcore.nn import FlopCountAnalysis
    from natten.flops import add_natten_handle

    analysis = add_natten_handle(FlopCountAnalysis(model, torch.randn(1, 3, 384, 384)))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    print(json.dumps({"macs": int(analysis.total()), "params": sum(p.numel() for p in model.parameters())}))


def run(command, rounds):
    """Median wall seconds, largest resident MB, and what the command printed."""
    seconds, resident, said = [], 0, None
    for _ in range(rounds):
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            said = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        seconds.append(time.perf_counter() - start)
        if child.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit code {child.returncode}")
        resident = max(resident, usage.ru_maxrss / 1000)
    return statistics.median(seconds), resident, json.loads(said)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--natten", help="the natten command")
    parser.add_argument("--count", action="store_true", help="count by fvcore in this process and print it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="also write the figures to this file")
    args = parser.parse_args()
    if args.count:
        return count()
    ours = run([args.natten, "flops", MODEL, "--json", "--quiet", "--convention", "natten-0.17.5"], args.rounds + 1)
    fvcore = run([sys.executable, __file__, "--count"], 1)
    print(f"counting {MODEL}, batch 1     seconds  resident MB         MACs       parameters")
    for name, (seconds, resident, said) in {"natten flops": ours, "fvcore 0.1.5": fvcore}.items():
        print(f"{name:30} {seconds:9.2f}  {resident:11.0f}  {said['macs']:14}  {said['params']:10}")
    for key in ("macs", "params"):
        if ours[2][key] != fvcore[2][key]:
            sys.exit(f"{key} differ")
    if args.json:
        with open(args.json, "w") as f:
            json.dump({name: {"seconds": r[0], "resident_mb": r[1], "macs": r[2]["macs"]}
                       for name, r in {"natten flops": ours, "fvcore": fvcore}.items()}, f, indent=1)


if __name__ == "__main__":
    main()

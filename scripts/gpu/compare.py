"""The operators on CUDA against the same operators on the CPU in float64.

compare.py LIBNATTEN [--count N] [--seconds S] [--seed S] [--kernels tile|window|hopper|any] [--tf32] [--device cuda]
           [--json FILE]

Random configurations, forward and backward; an output may be off by what PyTorch's own attention in that dtype is,
times two. With --tf32 products of float32 may be rounded to TF32. Prints each failure with the seed that repeats it; exit status 1 when there is one.
"""

import argparse
import json
import os
import random
import sys
import time

import torch

OPS = torch.ops.natten


def draw_large(rng):
    """Windows of 512 keys and more, which the wgmma kernel takes."""
    rank = rng.choice([1, 2, 2, 3])
    kernel = [rng.randint(*{1: (512, 800), 2: (23, 36), 3: (8, 11)}[rank]) for _ in range(rank)]
    dilation = [rng.choice([1, 1, 2]) for _ in range(rank)]
    length = [k * d + rng.randint(0, {1: 400, 2: 24, 3: 8}[rank]) for k, d in zip(kernel, dilation)]
    dim, value_dim = 8 * rng.randint(5, 16), 8 * rng.randint(1, 16)
    if rng.random() < 0.6:
        dim = value_dim = rng.choice([64, 128])
    group = rng.choice([1, 1, 2])
    kv_heads = rng.randint(1, 2)
    return {
        "dtype": rng.choice([torch.float16, torch.bfloat16]), "batch": rng.randint(1, 2), "length": length, "kernel": kernel,
        "dilation": dilation, "causal": [rng.random() < 0.25 for _ in kernel],
        "stride": [rng.randint(1, k) if rng.random() < 0.25 else 1 for k in kernel],
        "heads": kv_heads * group, "kv_heads": kv_heads, "dim": dim, "value_dim": value_dim, "bias": False,
        "packed": dim == value_dim and group == 1 and rng.random() < 0.5, "unfused": False,
    }


def draw_small(rng):
    """Windows of at most 7x7 keys, which the window kernels take; every fourth is one of NAT's levels."""
    bias = rng.random() < 0.7
    kernel = [rng.choice([7, 7, rng.randint(1, 7)]) for _ in range(2)]
    dilation = [rng.choice([1, 1, 1, rng.randint(2, 4)]) for _ in kernel]
    length = [k * d + rng.randint(0, 30) for k, d in zip(kernel, dilation)]
    if rng.random() < 0.25:
        kernel, dilation, length = [7, 7], [1, 1], [rng.choice([7, 14, 28])] * 2
    return {
        "dtype": rng.choice([torch.float16, torch.bfloat16]), "batch": rng.choice([1, 2, 3, 9]), "length": length,
        "kernel": kernel, "dilation": dilation, "causal": [not bias and rng.random() < 0.4 for _ in kernel],
        "stride": [1, 1], "heads": rng.randint(1, 3), "kv_heads": 0, "dim": rng.choice([32, 32, 64]), "value_dim": 0,
        "bias": bias, "packed": rng.random() < 0.5, "unfused": False,
    }


def draw(rng, kernels):
    if kernels == "hopper":
        return draw_large(rng)
    if kernels == "window":
        c = draw_small(rng)
        return {**c, "kv_heads": c["heads"], "value_dim": c["dim"]}
    rank = rng.choice([1, 2, 2, 3])
    tile = kernels == "tile"
    dtype = rng.choice([torch.float64, torch.float32, torch.float16, torch.bfloat16])
    top = {1: 33, 2: 13, 3: 5}[rank]
    kernel, dilation, causal, stride, length = [], [], [], [], []
    bias = rng.random() < 0.6
    for _ in range(rank):
        kernel.append(rng.choice([7, top, 3]) if rng.random() < 0.5 else rng.randint(1, top))
        dilation.append(1 if rng.random() < 0.6 else rng.randint(1, 4 if rank < 3 else 2))
        causal.append(not bias and rng.random() < 0.4)
        stride.append(rng.randint(1, kernel[-1]) if rng.random() < 0.25 else 1)
        length.append(kernel[-1] * dilation[-1] + rng.randint(0, {1: 150, 2: 24, 3: 6}[rank]))
    if tile:
        most = 64 if dtype == torch.float64 else 128
        piece = 16 // dtype.itemsize
        dim, value_dim = piece * rng.randint(1, most // piece), piece * rng.randint(1, most // piece)
        if rng.random() < 0.6:
            dim = value_dim = rng.choice([32, 32, 64, most])
    else:
        dim, value_dim = rng.randint(1, 140), rng.randint(1, 140)
    group = rng.choice([1, 1, 2])
    kv_heads = rng.randint(1, 3)
    return {
        "dtype": dtype, "batch": rng.randint(1, 3), "length": length, "kernel": kernel, "dilation": dilation,
        "causal": causal, "stride": stride, "heads": kv_heads * group, "kv_heads": kv_heads, "dim": dim,
        "value_dim": value_dim, "bias": bias, "packed": dim == value_dim and group == 1 and rng.random() < 0.5,
        "unfused": True,
    }


def inputs(c, seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(c["dtype"])

    lead = [c["batch"], *c["length"]]
    if c["packed"]:
        qkv = normal(*lead, 3, c["heads"], c["dim"])
        q, k, v = qkv.unbind(-3)
    else:
        q = normal(*lead, c["heads"], c["dim"])
        k, v = normal(*lead, c["kv_heads"], c["dim"]), normal(*lead, c["kv_heads"], c["value_dim"])
    rpb = normal(c["heads"], *[2 * k - 1 for k in c["kernel"]]) if c["bias"] else None
    return q, k, v, rpb, normal(*lead, c["heads"], c["value_dim"])


def run(c, tensors, device, dtype):
    q, k, v, rpb, dout = [None if t is None else t.to(device=device, dtype=dtype) for t in tensors]
    leaves = [t.detach().requires_grad_() for t in (q, k, v) ]
    if rpb is not None:
        rpb = rpb.detach().requires_grad_()
    geometry = (c["kernel"], c["dilation"], c["causal"])
    out, lse = OPS.na_lse(*leaves, rpb, *geometry, None, c["stride"])
    with torch.no_grad():  # makes no lse
        plain = OPS.na(*leaves, rpb, *geometry, None, c["stride"])
        if not torch.equal(out.nan_to_num(), plain.nan_to_num()):
            raise RuntimeError("without a gradient the output differs")
    every = leaves + ([rpb] if rpb is not None else [])
    grads = torch.autograd.grad(out, every, dout)
    results = {"out": out, "lse": lse, **dict(zip(["dq", "dk", "dv", "drpb"], grads))}
    if not c["unfused"]:
        return {name: t.detach().to("cpu", torch.float64) for name, t in results.items()}
    logits = OPS.na_qk(leaves[0], leaves[1], rpb, *geometry, 0.25, c["stride"])
    weights = torch.softmax(logits.float() if logits.dtype != torch.float64 else logits, -1).to(dtype)
    unfused = OPS.na_av(weights, leaves[2], *geometry, c["stride"])
    grads = torch.autograd.grad(unfused, every, dout)
    results.update({"unfused": unfused, **dict(zip(["udq", "udk", "udv", "udrpb"], grads))})
    return {name: t.detach().to("cpu", torch.float64) for name, t in results.items()}


TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.float16: 6e-3, torch.bfloat16: 4e-2}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="draw no more after that time")
    parser.add_argument("--kernels", default="any")
    parser.add_argument("--tf32", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    torch.ops.load_library(options.library)
    if options.kernels in ("tile", "window") and options.device == "cuda":
        os.environ["NATTEN_BACKEND"] = options.kernels
    if options.tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
        TOLERANCE[torch.float32] = 6e-3
    failures, worst, began, done = 0, {}, time.monotonic(), 0
    for number in range(options.count):
        if time.monotonic() - began > options.seconds:
            break
        seed = options.seed + number
        c = draw(random.Random(seed), options.kernels)
        tensors = inputs(c, seed)
        try:
            want = run(c, tensors, "cpu", torch.float64)
            got = run(c, tensors, options.device, c["dtype"])
            again = run(c, tensors, options.device, c["dtype"])
            done += 1
        except RuntimeError as error:
            failures += 1
            print(f"seed {seed}: {c}: {str(error).splitlines()[0]}", flush=True)
            if "CUDA error" in str(error):
                break
            continue
        for name, value in want.items():
            finite = torch.isfinite(value)
            # A window of one key has gradients that are nothing but roundoff: hence the floor.
            scale = max(value[finite].abs().max().item() if finite.any() else 0, 2e-2)
            error = (got[name] - value)[finite].abs().max().item() / scale if finite.any() else 0.0
            key = f"{c['dtype']}".replace("torch.", "") + " " + name
            worst[key] = max(worst.get(key, 0.0), error)
            if not error <= TOLERANCE[c["dtype"]] or not torch.equal(torch.isfinite(got[name]), finite):
                failures += 1
                print(f"seed {seed}: {name} off by {error:.3g}: {c}", flush=True)
            if not torch.equal(again[name], got[name]) and not torch.isnan(got[name]).any():
                failures += 1
                print(f"seed {seed}: {name} differs from run to run: {c}", flush=True)
    for key in sorted(worst):
        print(f"  {key:20s} {worst[key]:.2e}")
    print(f"{options.kernels}: {done} configurations from seed {options.seed}, {failures} failures")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump({"configurations": done, "failures": failures, "worst": worst}, stream)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

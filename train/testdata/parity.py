"""A small NAT trained for 50 steps by a plain PyTorch loop: the losses that TestParityWithPyTorch expects.

    python parity.py > parity.json                                   # attention by gathering, in float64 and float32
    python parity.py --against parity.json --attention natten        # NATTEN 0.17.5's CPU operators in their place
    python parity.py --against parity.json --attention gonatten --library build/lib/libnatten.so

Weights and pictures come from a small generator that the test repeats, so that neither side reads the other's files.
torch 2.11.0, two threads.
"""
import argparse
import json
import math
import pathlib
import sys
import zlib

import torch
import torch.nn.functional as F

PEERS = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "peers"
sys.path.insert(0, str(PEERS))
import official  # noqa: E402

CLASSES, SIZE, BATCH, BATCHES, STEPS = 10, 32, 8, 10, 50
DIM, DEPTHS, HEADS, KERNEL, DILATIONS, RATIO = 32, [2, 2], [1, 2], 3, [[1, 2], [1, 1]], 2
LR, WARMUP_LR, MIN_LR, WARMUP, CLIP, DECAY, SMOOTHING, EMA = 1e-3, 1e-6, 5e-6, 5, 1.0, 0.05, 0.1, 0.99


def numbers(name, count):
    """count numbers in [-1, 1) that belong to a name."""
    x, out = zlib.crc32(name.encode()), []
    for _ in range(count):
        x = (x * 1664525 + 1013904223) % 2**32
        out.append(x / 2**31 - 1)
    return out


def shapes():
    out = {"patch_embed.proj.0.weight": [DIM // 2, 3, 3, 3], "patch_embed.proj.0.bias": [DIM // 2],
           "patch_embed.proj.1.weight": [DIM, DIM // 2, 3, 3], "patch_embed.proj.1.bias": [DIM],
           "patch_embed.norm.weight": [DIM], "patch_embed.norm.bias": [DIM]}
    for i, depth in enumerate(DEPTHS):
        c = DIM * 2**i
        for j in range(depth):
            p = f"levels.{i}.blocks.{j}."
            for norm in "norm1", "norm2":
                out |= {p + norm + ".weight": [c], p + norm + ".bias": [c]}
            out |= {p + "attn.rpb": [HEADS[i], 2 * KERNEL - 1, 2 * KERNEL - 1],
                    p + "attn.qkv.weight": [3 * c, c], p + "attn.qkv.bias": [3 * c],
                    p + "attn.proj.weight": [c, c], p + "attn.proj.bias": [c],
                    p + "mlp.fc1.weight": [RATIO * c, c], p + "mlp.fc1.bias": [RATIO * c],
                    p + "mlp.fc2.weight": [c, RATIO * c], p + "mlp.fc2.bias": [c]}
        if i + 1 < len(DEPTHS):
            p = f"levels.{i}.downsample."
            out |= {p + "reduction.weight": [2 * c, c, 3, 3], p + "norm.weight": [2 * c], p + "norm.bias": [2 * c]}
    last = DIM * 2 ** (len(DEPTHS) - 1)
    return out | {"norm.weight": [last], "norm.bias": [last], "head.weight": [CLASSES, last], "head.bias": [CLASSES]}


def weights(dtype):
    state = {}
    for name, shape in shapes().items():
        values = numbers(name, math.prod(shape))
        if "norm" in name and name.endswith("weight"):
            values = [1 + 0.1 * v for v in values]
        elif len(shape) > 1 and not name.endswith("rpb"):
            scale = math.sqrt(1 / math.prod(shape[1:]))
            values = [scale * v for v in values]
        else:
            values = [0.1 * v for v in values]
        state[name] = torch.tensor(values, dtype=torch.float32).reshape(shape).to(dtype).requires_grad_()
    return state


def batch(number, dtype):
    images = torch.tensor(numbers(f"images.{number}", BATCH * 3 * SIZE * SIZE), dtype=torch.float32)
    labels = [int((v + 1) * CLASSES / 2) for v in numbers(f"labels.{number}", BATCH)]
    return images.reshape(BATCH, 3, SIZE, SIZE).to(dtype), torch.tensor(labels)


def rate(step):
    if step < WARMUP:
        return WARMUP_LR + step * (LR - WARMUP_LR) / WARMUP
    return MIN_LR + 0.5 * (LR - MIN_LR) * (1 + math.cos(math.pi * step / STEPS))


def train(dtype):
    state = weights(dtype)
    decayed = [p for n, p in state.items() if p.ndim > 1]
    others = [p for n, p in state.items() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}], lr=LR)
    average = {n: p.detach().clone() for n, p in state.items()}
    losses, norms = [], []
    for step in range(STEPS):
        images, labels = batch(step % BATCHES, dtype)
        logits = official.forward(state, images, DEPTHS, HEADS, KERNEL, DILATIONS)
        loss = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
        opt.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(state.values(), CLIP).item())
        for group in opt.param_groups:
            group["lr"] = rate(step)
        opt.step()
        with torch.no_grad():
            for n, p in state.items():
                average[n].lerp_(p, 1 - EMA)
        losses.append(loss.item())
    return {"losses": losses, "norms": norms, "ema": {n: p.double().norm().item() for n, p in average.items()}}


def natten_attention(x, sd, prefix, heads, kernel, dilation):
    from natten_cpu import functional as nf

    def attend(q, k, v, rpb):  # heads first, q scaled
        logits = nf.na2d_qk(q.contiguous(), k.contiguous(), kernel_size=kernel, dilation=dilation, rpb=rpb)
        return nf.na2d_av(logits.softmax(-1), v.contiguous(), kernel_size=kernel, dilation=dilation)

    return official.projected(x, sd, prefix, heads, kernel, dilation, attend)


def gonatten_attention(x, sd, prefix, heads, kernel, dilation):
    def attend(q, k, v, rpb):
        q, k, v = (t.permute(0, 2, 3, 1, 4) for t in (q, k, v))
        out = torch.ops.natten.na(q, k, v, rpb, [kernel] * 2, [dilation] * 2, [False] * 2, scale=1.0)
        return out.permute(0, 3, 1, 2, 4)

    return official.projected(x, sd, prefix, heads, kernel, dilation, attend)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attention", default="gather", choices=["gather", "natten", "gonatten"])
    parser.add_argument("--library", help="libnatten.so, for gonatten")
    parser.add_argument("--against", help="losses to compare with instead of printing")
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.library:
        torch.ops.load_library(args.library)
    if args.attention != "gather":
        official.attention = {"natten": natten_attention, "gonatten": gonatten_attention}[args.attention]
    result = {name: train(dtype) for name, dtype in {"float64": torch.float64, "float32": torch.float32}.items()}
    if not args.against:
        json.dump(result, sys.stdout)
        print()
        return
    with open(args.against) as f:
        want = json.load(f)
    for name in result:
        worst = max(abs(a - b) / abs(b) for a, b in zip(result[name]["losses"], want[name]["losses"]))
        print(f"{name}: losses of {STEPS} steps agree to {worst:.1e} relative")
        if worst > {"float64": 1e-9, "float32": 1e-5}[name]:
            sys.exit(f"{args.attention}: too far from {args.against}")


if __name__ == "__main__":
    main()

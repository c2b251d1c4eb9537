"""Training steps of NAT in PyTorch, for comparison: nat.py [--library LIBNATTEN] [--batch 128] [--json FILE]

The architecture of NAT-Tiny (arXiv 2204.07143: depths 3, 4, 18, 5; 64 channels and 2 heads at the first level; MLP
ratio 3; kernel 7) as a plain eager model under float16 autocast with loss scaling left out, on synthetic images.
Attention is FlexAttention, compiled, with the neighborhood as block mask and the relative positional bias by score_mod;
with --library also this project's operator. Prints images per second, medians of single steps.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

KERNEL = 7


class Flex(nn.Module):
    compiled = staticmethod(torch.compile(flex_attention, dynamic=False))
    masks = {}

    def __init__(self, heads):
        super().__init__()
        self.rpb = nn.Parameter(torch.zeros(heads, 2 * KERNEL - 1, 2 * KERNEL - 1))

    def mask(self, side):
        if side not in self.masks:
            start = (torch.arange(side, device="cuda") - KERNEL // 2).clamp(0, side - KERNEL)

            def seen(b, h, i, j):
                y, x, ky, kx = i // side, i % side, j // side, j % side
                return (ky >= start[y]) & (ky < start[y] + KERNEL) & (kx >= start[x]) & (kx < start[x] + KERNEL)

            Flex.masks[side] = create_block_mask(seen, None, None, side * side, side * side, device="cuda")
        return self.masks[side]

    def forward(self, q, k, v):  # [batch, side, side, heads, dim]
        batch, side, _, heads, dim = q.shape
        rpb = self.rpb

        def biased(score, b, h, i, j):
            dy = (j // side - i // side + KERNEL - 1).clamp(0, 2 * KERNEL - 2)
            dx = (j % side - i % side + KERNEL - 1).clamp(0, 2 * KERNEL - 2)
            return score + rpb[h, dy, dx]

        first = [t.reshape(batch, side * side, heads, dim).transpose(1, 2) for t in (q, k, v)]
        out = self.compiled(*first, score_mod=biased, block_mask=self.mask(side))
        return out.transpose(1, 2).reshape(q.shape)


class Operator(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.rpb = nn.Parameter(torch.zeros(heads, 2 * KERNEL - 1, 2 * KERNEL - 1))

    def forward(self, q, k, v):
        return torch.ops.natten.na(q, k, v, self.rpb, [KERNEL] * 2, [1, 1], [False, False])


def drop_path(x, rate):
    """Stochastic depth: whole samples of a residual branch."""
    if rate == 0:
        return x
    keep = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(1 - rate)
    return x * keep.div_(1 - rate)


class Block(nn.Module):
    def __init__(self, dim, heads, attention, rate):
        super().__init__()
        self.rate = rate
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.attention = attention(heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 3 * dim), nn.GELU(), nn.Linear(3 * dim, dim))

    def forward(self, x):
        batch, height, width, dim = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, height, width, 3, self.heads, dim // self.heads)
        x = x + drop_path(self.proj(self.attention(*qkv.unbind(3)).reshape(x.shape)), self.rate)
        return x + drop_path(self.mlp(self.norm2(x)), self.rate)


class ChannelsLast(nn.Module):
    """A convolution of channels-last images, and the norm after it."""

    def __init__(self, before, dim, norm):
        super().__init__()
        self.conv = nn.Conv2d(before, dim, 3, 2, 1, bias=before in (3, 32))
        self.norm = norm or nn.Identity()

    def forward(self, x):
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def nat_tiny(attention):
    layers, dim, rates = [ChannelsLast(3, 32, None), ChannelsLast(32, 64, nn.LayerNorm(64))], 64, iter(range(30))
    for level, depth in enumerate((3, 4, 18, 5)):
        layers += [Block(dim, 2 << level, attention, 0.2 * next(rates) / 29) for _ in range(depth)]
        if level < 3:
            layers.append(ChannelsLast(dim, 2 * dim, nn.LayerNorm(2 * dim)))
            dim *= 2
    return nn.Sequential(*layers, nn.LayerNorm(dim)), nn.Linear(dim, 1000)


def speed(attention, batch, steps=15, warm=5):
    torch.manual_seed(1)
    body, head = [m.cuda() for m in nat_tiny(attention)]
    parameters = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, fused=True)
    images = torch.randn(batch, 224, 224, 3, device="cuda")
    labels = torch.zeros(batch, dtype=torch.long, device="cuda")
    times, waits = [], []
    for _ in range(warm + steps):
        torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.autocast("cuda", torch.float16):
            logits = head(body(images).mean((1, 2)))
        loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=0.1)
        (loss * 1024).backward()
        optimizer.step()
        optimizer.zero_grad()
        handed = time.perf_counter()
        loss.item()
        times.append(time.perf_counter() - began)
        waits.append(time.perf_counter() - handed)
    return {"images_per_s": batch / statistics.median(times[warm:]), "step_ms": statistics.median(times[warm:]) * 1e3,
            "waiting_ms": statistics.median(waits[warm:]) * 1e3}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--json")
    options = parser.parse_args()
    results = {"device": torch.cuda.get_device_name(), "batch": options.batch}
    if options.library:
        torch.ops.load_library(options.library)
        results["operator"] = speed(Operator, options.batch)
        print("PyTorch with this operator:", json.dumps(results["operator"]), flush=True)
    try:
        results["flex"] = speed(Flex, options.batch)
    except Exception as error:  # its own limits are worth a line, not the run
        results["flex"] = {"error": str(error).splitlines()[0][:300]}
    print("PyTorch with FlexAttention:", json.dumps(results["flex"]), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump(results, stream)


if __name__ == "__main__":
    main()

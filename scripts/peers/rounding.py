"""What float32 rounds off in the fused operator, against dense scaled_dot_product_attention on the same inputs.

    python scripts/peers/rounding.py LIBRARY [--seeds 2]

The neighborhood and the bias are one additive mask of the dense attention; both are compared with float64. Exits
non-zero where the operator's root-mean-square error is the larger.
"""
import argparse
import sys

import torch

SHAPES = [  # tokens on each axis, heads, head dim, kernel, dilation
    (56, 2, 32, 7, 1),
    (28, 4, 32, 7, 4),
    (14, 8, 32, 7, 2),
    (7, 16, 32, 7, 1),
    (56, 4, 64, 13, 1),
    (28, 2, 16, 7, 1),
    (28, 2, 40, 5, 1),
    (28, 2, 128, 7, 2),
]


def axis(length, kernel, dilation):
    """[query, key]: whether the query sees the key, and the bias entry that it then reads."""
    token = torch.arange(length)
    residue, place = token % dilation, token // dilation
    group = (length - 1 - residue) // dilation + 1
    start = torch.minimum((place - kernel // 2).clamp(min=0), group - kernel)[:, None]
    inside = (residue[:, None] == residue) & (place >= start) & (place < start + kernel)
    return inside, (place - place[:, None] + kernel - 1).clamp(0, 2 * kernel - 2)


def errors(length, heads, dim, kernel, dilation):
    """Squared errors of the operator and of dense attention."""
    q, k, v = (torch.randn(1, length, length, heads, dim) for _ in range(3))
    rpb = torch.randn(heads, 2 * kernel - 1, 2 * kernel - 1) * 0.5
    fused = torch.ops.natten.na(q, k, v, rpb, [kernel] * 2, [dilation] * 2, [False] * 2)
    inside, entry = axis(length, kernel, dilation)
    tokens = length**2
    seen = (inside[:, None, :, None] & inside[None, :, None, :]).reshape(tokens, tokens)
    sums = torch.zeros(2, dtype=torch.float64)
    for head in range(heads):
        bias = rpb[head][entry[:, None, :, None], entry[None, :, None, :]].reshape(tokens, tokens)
        mask = torch.where(seen, bias, float("-inf"))
        first = [t[0, :, :, head].reshape(1, 1, tokens, dim) for t in (q, k, v)]
        dense = torch.nn.functional.scaled_dot_product_attention(*first, attn_mask=mask)
        wide = [t[0, 0].double() for t in first]
        want = (wide[0] @ wide[1].T * dim**-0.5 + mask.double()).softmax(-1) @ wide[2]
        for i, got in enumerate((fused[0, :, :, head].reshape(tokens, dim), dense[0, 0])):
            sums[i] += (got.double() - want).square().sum()
    return sums


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", help="libnatten.so")
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    torch.ops.load_library(args.library)
    every = []
    for shape in SHAPES:
        ratios = []
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            own, dense = errors(*shape)
            ratios.append((own / dense).sqrt().item())
        every += ratios
        print(f"{shape}: error {', '.join(f'{r:.2f}' for r in ratios)} times dense attention's", flush=True)
    if not all(ratio <= 1 for ratio in every):  # NaN is not
        sys.exit(f"float32 rounds off up to {max(every):.2f} times what dense attention does, want at most 1")


if __name__ == "__main__":
    main()

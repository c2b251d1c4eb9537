"""The operators against releases of NATTEN on random configurations, forward and gradients, both in this process.

    python scripts/peers/agree.py LIBRARY [--count 200] [--seed N]
    PYTHONPATH=FOLDER python scripts/peers/agree.py LIBRARY --newest [--count 200]

NATTEN 0.17.5 runs its unfused pair on the CPU, with biases, causal axes and additional keys. With --newest the natten
that PYTHONPATH names runs its Flex backend, the only one of 0.21 that takes CPU tensors: strides, even kernels,
causal axes, grouped heads and additional keys, float32. FlexAttention has no backward pass on the CPU, so gradients are
compared with dense attention under the mask that NATTEN makes for it. Its other kernels are asked too, and why they
refuse is printed. Prints the seed; exits non-zero at the first disagreement.
"""
import argparse
import collections
import random
import sys

import torch

NAMES = ("output", "dq", "dk", "dv", "drpb", "d extra k", "d extra v")


def heads_first(t):
    """[B, *spatial, H, D] -> [B, H, *spatial, D]"""
    return t.movedim(-2, 1)


def draw(rng, newest):
    """One configuration: every choice is made here."""
    rank = rng.choice((1, 2, 3))
    axes = []
    for _ in range(rank):
        kernel = rng.choice({1: (2, 3, 4, 5, 7, 9, 13), 2: (2, 3, 4, 5, 7), 3: (2, 3, 4, 5)}[rank])
        if not newest:
            kernel |= 1
        dilation = rng.choice((1, 1, 2, 3) if rank < 3 else (1, 1, 2))
        length = kernel * dilation + rng.choice((0, 1, 2, 5))
        stride = rng.randint(1, kernel) if newest else 1
        causal = rng.random() < 0.3
        if newest and rank == 1 and causal and length == kernel:
            length += 1  # becomes plain causal attention, which its Flex backend does not have
        axes.append((length, kernel, dilation, stride, causal))
    c = dict(zip(("length", "kernel", "dilation", "stride", "causal"), (list(x) for x in zip(*axes))))
    c["rank"] = rank
    c["batch"], c["kv_heads"] = rng.choice((1, 2)), rng.choice((1, 2, 3))
    c["group"] = rng.choice((1, 2)) if newest else 1
    c["dim"] = rng.choice((8, 16, 32)) if newest else rng.choice((1, 2, 4, 8, 20, 32))
    c["rpb"] = not newest and not any(c["causal"]) and rng.random() < 0.6
    c["extra"] = rng.choice((0, 0, 3))
    c["dtype"] = torch.float32 if newest else rng.choice((torch.float32, torch.float64))
    return c


def inputs(c):
    heads, lead = c["kv_heads"] * c["group"], [c["batch"], *c["length"]]
    def make(*shape):
        return torch.randn(shape, dtype=c["dtype"], requires_grad=True)

    q = make(*lead, heads, c["dim"])
    k, v = make(*lead, c["kv_heads"], c["dim"]), make(*lead, c["kv_heads"], c["dim"])
    rpb = make(heads, *(2 * n - 1 for n in c["kernel"])) if c["rpb"] else None
    extra = [make(c["batch"], c["extra"], c["kv_heads"], c["dim"]) if c["extra"] else None for _ in range(2)]
    return q, k, v, rpb, *extra


def fused(c, q, k, v, rpb, ek, ev):
    return torch.ops.natten.na(q, k, v, rpb, c["kernel"], c["dilation"], c["causal"], None, c["stride"], ek, ev)


def unfused(c, q, k, v, rpb, ek, ev):
    logits = torch.ops.natten.na_qk(q, k, rpb, c["kernel"], c["dilation"], c["causal"], c["dim"] ** -0.5, c["stride"])
    return torch.ops.natten.na_av(logits.softmax(-1), v, c["kernel"], c["dilation"], c["causal"], c["stride"])


def natten_0_17(c, q, k, v, rpb, ek, ev):
    from natten_cpu import functional as nf

    window = dict(kernel_size=tuple(c["kernel"]), dilation=tuple(c["dilation"]), is_causal=tuple(c["causal"]))
    q, k, v = (heads_first(t).contiguous() for t in (q, k, v))
    ek, ev = (None if t is None else t.transpose(1, 2).contiguous() for t in (ek, ev))
    qk, av = getattr(nf, f"na{c['rank']}d_qk"), getattr(nf, f"na{c['rank']}d_av")
    logits = qk(q * c["dim"] ** -0.5, k, rpb=rpb, additional_keys=ek, **window)
    return av(logits.softmax(-1), v, additional_values=ev, **window).movedim(1, -2)


def natten_newest(c, q, k, v, rpb, ek, ev):
    """Forward only."""
    import natten

    f = getattr(natten, f"na{c['rank']}d")
    window = {"kernel_size": "kernel", "stride": "stride", "dilation": "dilation", "is_causal": "causal"}
    q, k, v, ek, ev = (None if t is None else t.detach() for t in (q, k, v, ek, ev))
    return f(q, k, v, additional_keys=ek, additional_values=ev, backend="flex-fna", torch_compile=False,
             attention_kwargs={"backend": "flex-fmha"}, **{name: tuple(c[key]) for name, key in window.items()})


def natten_newest_mask(c, q, k, v, rpb, ek, ev):
    """Dense attention over the keys that the newest release's mask lets through, and the additional ones."""
    from natten.backends.flex import get_na_flex_mask
    from torch.nn.attention.flex_attention import create_mask

    tokens = q[0, ..., 0, 0].numel()
    window = (tuple(c[name]) for name in ("length", "kernel", "stride", "dilation", "causal"))
    mask = create_mask(get_na_flex_mask("cpu", c["rank"], *window).mask_mod, 1, 1, tokens, tokens, device="cpu")
    first = [t.flatten(1, -3).transpose(1, 2) for t in (q, k, v)]
    if ek is not None:
        first[1:] = [torch.cat([t, e.transpose(1, 2)], 2) for t, e in zip(first[1:], (ek, ev))]
        mask = torch.cat([mask, mask.new_ones(1, 1, tokens, ek.shape[1])], -1)
    first[1:] = [t.repeat_interleave(c["group"], 1) for t in first[1:]]
    out = torch.nn.functional.scaled_dot_product_attention(*first, attn_mask=mask)
    return out.transpose(1, 2).view(q.shape)


def results(run, c, given, upstream):
    """The output and every gradient of sum(output * upstream)."""
    leaves = [t for t in given if t is not None]
    out = run(c, *given)
    return [out, *torch.autograd.grad(out, leaves, upstream)]


def compare(name, got, want, names, tolerance, c):
    worst = 0.0
    for label, a, b in zip(names, got, want):
        if a.shape != b.shape:
            sys.exit(f"{name}: {label} has shape {tuple(a.shape)}, want {tuple(b.shape)}: {c}")
        scale = max(b.abs().max().item(), 1e-3)
        worst = max(worst, difference := (a - b).abs().max().item() / scale)
        if not difference <= tolerance:
            sys.exit(f"{name}: {label} differs by {difference:.2e} of its largest value, want at most {tolerance}: {c}")
    return worst


def refusals():
    """Why the newest release's other kernels do not run here, in its own words."""
    import natten
    from natten.backends import reference

    q = torch.randn(1, 6, 1, 8)
    attempts = {"reference": lambda: reference.na1d_reference(q, q, q, kernel_size=3)}
    for backend in ("cutlass-fna", "hopper-fna", "blackwell-fna"):
        attempts[backend] = lambda backend=backend: natten.na1d(q, q, q, kernel_size=3, backend=backend)
    for name, attempt in attempts.items():
        try:
            attempt()
        except Exception as e:  # whatever it raises is the answer
            print(f"NATTEN {natten.__version__} {name} on the CPU: {type(e).__name__}: {' '.join(str(e).split())}")
        else:
            print(f"NATTEN {natten.__version__} {name} on the CPU: runs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", help="libnatten.so")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--newest", action="store_true", help="NATTEN 0.21, from PYTHONPATH")
    args = parser.parse_args()
    if args.count < 1:
        parser.error("--count: want at least 1")
    print(f"--seed {args.seed} repeats this run")
    rng = random.Random(args.seed)
    torch.manual_seed(args.seed)
    torch.ops.load_library(args.library)
    if args.newest:
        import natten

        version = natten.__version__
        refusals()
    else:
        version = "0.17.5"
    peer = natten_newest_mask if args.newest else natten_0_17

    seen, worst = collections.Counter(), 0.0
    for _ in range(args.count):
        c = draw(rng, args.newest)
        given = inputs(c)
        upstream = torch.randn_like(given[0])
        names = ["output"] + [n for n, t in zip(NAMES[1:], given) if t is not None]
        tolerance = 1e-10 if c["dtype"] == torch.float64 else 5e-5
        want = results(peer, c, given, upstream)
        if args.newest:
            compare("NATTEN's mask against its own kernels", want, [natten_newest(c, *given)], names, tolerance, c)
        worst = max(worst, compare(f"fused against NATTEN {version}", results(fused, c, given, upstream), want, names, tolerance, c))
        if not c["extra"]:
            compare(f"unfused against NATTEN {version}", results(unfused, c, given, upstream), want, names, tolerance, c)
        seen.update([f"{c['rank']}D", str(c["dtype"]).removeprefix("torch.")])
        seen.update(name for name, has in (("rpb", c["rpb"]), ("causal", any(c["causal"])), ("stride", max(c["stride"]) > 1),
                                           ("dilation", max(c["dilation"]) > 1), ("grouped heads", c["group"] > 1),
                                           ("even kernel", any(k % 2 == 0 for k in c["kernel"])), ("extra keys", c["extra"] > 0)) if has)
    print(f"{args.count} configurations agree with NATTEN {version}, fused and unfused, output and gradients; "
          f"largest difference {worst:.1e} of the largest value")
    print("of these: " + ", ".join(f"{n} {name}" for name, n in sorted(seen.items())))


if __name__ == "__main__":
    main()

"""What each project's neighborhood attention does on the CPU: tiny calls of every feature, compared with dense
attention under the definition's mask. README's table is made of this.

    python scripts/peers/features.py LIBRARY PEER

PEER is one of: here, natten-0.17.5, natten-newest (PYTHONPATH names its folder), flex. Prints a line per feature: yes, or
no and the reason in the peer's own words. Disagreement with the definition is a no as well.
"""
import math
import os
import sys
import warnings

import torch
import torch.autograd.forward_ad as fwd

warnings.filterwarnings("ignore")


def axis_mask(length, kernel, dilation, stride, causal):
    """[query, key] of one axis, from the definition."""
    mask = torch.zeros(length, length, dtype=torch.bool)
    for query in range(length):
        residue, place = query % dilation, query // dilation
        size = (length - 1 - residue) // dilation + 1
        block = place // stride * stride
        if causal:
            leader = min(block + stride - 1, size - 1)
            places = [p for p in range(place + 1) if leader - p < kernel]
        else:
            leader = min(block + stride // 2, size - 1)
            first = min(max(leader - kernel // 2, 0), size - kernel)
            places = range(first, first + kernel)
        for p in places:
            mask[query, p * dilation + residue] = True
    return mask


class Window:
    """The arguments of a call besides its tensors, spread over the axes."""

    def __init__(self, spatial, kernel=3, dilation=1, stride=1, causal=False):
        self.spatial, self.rank = tuple(spatial), len(spatial)
        self.kernel, self.dilation, self.stride, self.causal = ((x,) * self.rank for x in (kernel, dilation, stride, causal))

    def mask(self):
        mask = torch.ones(1, 1, dtype=torch.bool)
        for axis in zip(self.spatial, self.kernel, self.dilation, self.stride, self.causal):
            one = axis_mask(*axis)
            mask = (mask[:, None, :, None] & one[None, :, None, :]).reshape(mask.shape[0] * len(one), -1)
        return mask

    def bias(self, rpb):
        """rpb [heads, 2K-1 per axis] for every query and key, [heads, query, key]."""
        index = []
        for length, kernel, dilation in zip(self.spatial, self.kernel, self.dilation):
            at = torch.arange(length) // dilation
            index.append((at[None, :] - at[:, None] + kernel - 1).clamp(0, 2 * kernel - 2))
        grids = []
        for n, i in enumerate(index):  # [q0, q1, .., k0, k1, ..]
            shape = [1] * (2 * self.rank)
            shape[n] = shape[n + self.rank] = self.spatial[n]
            grids.append(i.view(shape).expand(*self.spatial, *self.spatial))
        tokens = math.prod(self.spatial)
        return rpb[(slice(None), *grids)].reshape(len(rpb), tokens, tokens)


def dense(q, k, v, w, rpb=None, extra=None):
    first = [t.flatten(1, -3).transpose(1, 2) for t in (q, k, v)]
    mask = torch.zeros(w.mask().shape, dtype=q.dtype).masked_fill(~w.mask(), -math.inf)
    if rpb is not None:
        mask = mask + w.bias(rpb)
    if extra is not None:
        first[1:] = [torch.cat([t, e.transpose(1, 2)], 2) for t, e in zip(first[1:], extra)]
        mask = torch.nn.functional.pad(mask, (0, extra[0].shape[1]))
    first[1:] = [t.repeat_interleave(q.shape[-2] // k.shape[-2], 1) for t in first[1:]]
    weights = (first[0] @ first[1].transpose(-1, -2) * q.shape[-1] ** -0.5 + mask).softmax(-1)
    return (weights @ first[2]).transpose(1, 2).reshape(*q.shape[:-1], v.shape[-1])


def here(q, k, v, w, rpb=None, extra=None):
    return torch.ops.natten.na(q, k, v, rpb, w.kernel, w.dilation, w.causal, None, w.stride, *(extra or (None, None)))


def natten_0_17_5(q, k, v, w, rpb=None, extra=None):
    from natten_cpu import functional as nf

    if max(w.stride) > 1:
        raise NotImplementedError("its functions have no argument for it")
    ek, ev = extra or (None, None)
    if extra is not None:
        ek, ev = ek.transpose(1, 2).contiguous(), ev.transpose(1, 2).contiguous()
    first = [t if t.is_nested else t.movedim(-2, 1).contiguous() for t in (q, k, v)]
    window = dict(kernel_size=w.kernel, dilation=w.dilation, is_causal=w.causal)
    qk, av = getattr(nf, f"na{w.rank}d_qk"), getattr(nf, f"na{w.rank}d_av")
    logits = qk(first[0] * q.shape[-1] ** -0.5 if not q.is_nested else first[0], first[1], rpb=rpb, additional_keys=ek, **window)
    out = av(logits.softmax(-1), first[2], additional_values=ev, **window)
    return out if out.is_nested else out.movedim(1, -2)


def natten_newest(q, k, v, w, rpb=None, extra=None):
    import natten

    if rpb is not None:
        raise NotImplementedError("its functions have no argument for it")
    ek, ev = extra or (None, None)
    return getattr(natten, f"na{w.rank}d")(q, k, v, w.kernel, w.stride, w.dilation, w.causal, additional_keys=ek,
                                           additional_values=ev, backend="flex-fna", attention_kwargs={"backend": "flex-fmha"})


def flex(q, k, v, w, rpb=None, extra=None):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    first = [t.flatten(1, -3).transpose(1, 2) for t in (q, k, v)]
    mask = w.mask()
    if extra is not None:
        first[1:] = [torch.cat([t, e.transpose(1, 2)], 2) for t, e in zip(first[1:], extra)]
        mask = torch.nn.functional.pad(mask, (0, extra[0].shape[1]), value=True)
    block = create_block_mask(lambda b, h, i, j: mask[i, j], None, None, *mask.shape, device="cpu")
    bias = w.bias(rpb) if rpb is not None else None
    score = None if bias is None else (lambda s, b, h, i, j: s + bias[h, i, j])
    out = flex_attention(*first, score_mod=score, block_mask=block, enable_gqa=q.shape[-2] != k.shape[-2])
    return out.transpose(1, 2).reshape(*q.shape[:-1], v.shape[-1])


def tensors(w, heads=2, kv_heads=2, dim=8, value_dim=8, dtype=torch.float32, grad=False):
    return [torch.randn(2, *w.spatial, h, d, dtype=dtype, requires_grad=grad)
            for h, d in ((heads, dim), (kv_heads, dim), (kv_heads, value_dim))]


def same(got, want, tolerance=2e-5):
    torch.testing.assert_close(got.to(want.dtype), want, atol=tolerance, rtol=tolerance)


def forward(attend, w, dtype=torch.float32, tolerance=2e-5, rpb=False, extra=False, gradients=False, **sizes):
    q, k, v = tensors(w, dtype=dtype, grad=gradients, **sizes)
    bias = torch.randn(q.shape[-2], *(2 * n - 1 for n in w.kernel), requires_grad=gradients) if rpb else None
    more = [torch.randn(2, 3, *t.shape[-2:], dtype=dtype, requires_grad=gradients) for t in (k, v)] if extra else None
    got = attend(q, k, v, w, bias, more)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    want = dense(*(t.to(wide) for t in (q, k, v)), w, bias, more and [t.to(wide) for t in more])
    same(got, want, tolerance)
    if gradients:
        leaves, up = [q, k, v, *([bias] if rpb else []), *(more or [])], torch.randn_like(want)
        for a, b in zip(torch.autograd.grad(got, leaves, up), torch.autograd.grad(want, leaves, up)):
            same(a, b, 1e-4)


def double_backward(attend):
    q, k, v = tensors(Window([6]), grad=True)
    second = []
    for f in (attend, dense):
        g = torch.autograd.grad(f(q, k, v, Window([6])).square().sum(), q, create_graph=True)[0]
        second.append(torch.autograd.grad(g.square().sum(), k)[0])
    same(*second, 1e-4)


def forward_mode(attend, rpb):
    w = Window([6])
    q, k, v = tensors(w)
    bias, tangents = torch.randn(2, 5), [torch.randn_like(q), torch.randn(2, 5)]
    out = []
    for f in (attend, dense):
        with fwd.dual_level():
            dual = fwd.make_dual(bias, tangents[1]) if rpb else None
            out.append(fwd.unpack_dual(f(fwd.make_dual(q, tangents[0]), k, v, w, dual)).tangent)
    same(*out, 1e-4)


def nested(attend, gradients, heads_first):
    """Two samples of different length in one call."""
    samples = [torch.randn(n, 2, 8, requires_grad=gradients) for n in (7, 5)]
    move = (lambda t: t.transpose(0, 1)) if heads_first else (lambda t: t)
    x = torch.nested.as_nested_tensor([move(s).contiguous() for s in samples])
    outs = attend(x, x, x, Window([7])).unbind()
    scale = 8**0.25 if heads_first else 1  # there q is not scaled for nested inputs
    wants = [dense(s[None] * scale, s[None] * scale, s[None], Window([len(s)]))[0] for s in samples]
    for got, want in zip(outs, wants):
        same(move(got), want)
    if gradients:
        torch.autograd.grad(sum(o.sum() for o in outs), samples)


def packed():
    samples = [torch.randn(n, 2, 8) for n in (7, 5)]
    x = torch.cat(samples)
    got = torch.ops.natten.na_varlen(x, x, x, None, [7, 5], [3], [1], [False])
    same(got, torch.cat([dense(s[None], s[None], s[None], Window([len(s)]))[0] for s in samples]))


def compiled(attend):
    w = Window([6, 7])
    q, k, v = tensors(w)
    same(torch.compile(lambda q, k, v: attend(q, k, v, w), fullgraph=True, backend="aot_eager")(q, k, v), dense(q, k, v, w))


def probes(peer, attend):
    shapes = ([9], [6, 7], [4, 5, 6])
    yield "forward, ranks 1 to 3", lambda: [forward(attend, Window(s)) for s in shapes]
    yield "backward, ranks 1 to 3", lambda: [forward(attend, Window(s), gradients=True) for s in shapes]
    yield "dilation", lambda: forward(attend, Window([7, 8], dilation=2))
    yield "causal axes", lambda: forward(attend, Window([6, 7], causal=True))
    yield "stride", lambda: forward(attend, Window([6, 7], stride=2))
    yield "even kernels", lambda: forward(attend, Window([6, 7], kernel=4))
    yield "bias", lambda: forward(attend, Window([6, 7]), rpb=True)
    yield "bias, with gradient", lambda: forward(attend, Window([6, 7]), rpb=True, gradients=True)
    yield "grouped heads", lambda: forward(attend, Window([6, 7]), heads=4)
    yield "value dim of its own", lambda: forward(attend, Window([6, 7]), value_dim=16)
    yield "head dim 5", lambda: forward(attend, Window([6, 7]), dim=5, value_dim=5)
    yield "additional keys", lambda: forward(attend, Window([6, 7]), extra=True)
    yield "additional keys, with gradients", lambda: forward(attend, Window([6, 7]), extra=True, gradients=True)
    yield "float64", lambda: forward(attend, Window([6, 7]), dtype=torch.float64, tolerance=1e-12)
    for dtype in (torch.float16, torch.bfloat16):
        yield str(dtype).removeprefix("torch."), lambda dtype=dtype: forward(attend, Window([6, 7]), dtype=dtype, tolerance=4e-2)
    yield "double backward", lambda: double_backward(attend)
    yield "forward mode", lambda: forward_mode(attend, False)
    yield "forward mode with bias", lambda: forward_mode(attend, True)
    yield "nested batch", lambda: nested(attend, False, peer == "natten-0.17.5")
    yield "nested batch, with gradients", lambda: nested(attend, True, peer == "natten-0.17.5")
    if peer == "here":
        yield "packed batch", packed
    yield "torch.compile without graph breaks", lambda: compiled(attend)


def isolated(probe):
    """Runs it in a child: a peer may end the process. This process never starts threads, so it can fork."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            probe()
            answer = "yes"
        except Exception as e:  # the reason is the answer
            answer = f"no: {type(e).__name__}: {' '.join(str(e).split())[:160]}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as f:
        answer = f.read()
    os.waitpid(child, 0)
    return answer or "no: it ends the process"


def main():
    torch.ops.load_library(sys.argv[1])
    torch.manual_seed(0)
    peer = sys.argv[2]
    attend = {"here": here, "natten-0.17.5": natten_0_17_5, "natten-newest": natten_newest, "flex": flex}[peer]
    failed = 0
    for name, probe in probes(peer, attend):
        answer = isolated(probe)
        failed += answer != "yes"
        print(f"{peer}: {name}: {answer}", flush=True)
    if peer == "here" and failed:
        sys.exit(f"{failed} features failed")


if __name__ == "__main__":
    main()

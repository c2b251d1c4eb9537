"""The operators as Python's compilers see them: torch.library.opcheck, torch.compile and torch.export without graph
breaks, for one size and for sizes that change, and a TorchScript trace that is saved and loaded again. Exits non-zero
at the first failure.

    python scripts/peers/opcheck.py build/lib/libnatten.so
"""
import io
import sys

import torch

torch.ops.load_library(sys.argv[1])
torch.manual_seed(0)
natten = torch.ops.natten


def tensors(*shape, count=3, grad=True):
    return [torch.randn(shape, dtype=torch.float64, requires_grad=grad) for _ in range(count)]


def cases():
    """Arguments of every public operator, ranks 1 to 3."""
    for rank, spatial in ((1, (9,)), (2, (7, 6)), (3, (4, 5, 3))):
        kernel, dilation, causal = [3] * rank, [1] * rank, [False] * rank
        slots = 3**rank
        q, k, v = tensors(2, *spatial, 2, 4)
        rpb = torch.randn(2, *[5] * rank, dtype=torch.float64, requires_grad=True)
        yield f"na {rank}d", natten.na.default, (q, k, v, rpb, kernel, dilation, causal)
        yield f"na {rank}d causal", natten.na.default, (q, k, v, None, kernel, dilation, [True] * rank)
        yield f"na_qk {rank}d", natten.na_qk.default, (q, k, rpb, kernel, dilation, causal)
        attn = torch.rand(2, *spatial, 2, slots, dtype=torch.float64, requires_grad=True)
        yield f"na_av {rank}d", natten.na_av.default, (attn, v, kernel, dilation, causal)
        yield f"na_lse {rank}d", natten.na_lse.default, (q, k, v, rpb, kernel, dilation, causal)
        extra = tensors(2, 3, 2, 4, count=2)
        yield f"na with additional keys {rank}d", natten.na.default, (q, k, v, rpb, kernel, dilation, causal, None, [], *extra)
        one, sizes = [t[0].flatten(0, rank - 1).detach().requires_grad_() for t in (q, k, v)], list(spatial)
        yield f"na_varlen {rank}d", natten.na_varlen.default, (*one, rpb, sizes, kernel, dilation, causal)
    outs, lses = tensors(2, 5, 4, count=2), tensors(2, 5, count=2)
    yield "merge_attentions", natten.merge_attentions.default, (outs, lses)


class Attention(torch.nn.Module):
    """Neighborhood attention between two projections, as a model has it."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16)
        self.rpb = torch.nn.Parameter(torch.randn(2, 5, 5))

    def forward(self, x):
        b, h, w, c = x.shape
        q, k, v = self.qkv(x).view(b, h, w, 3, 2, 8).unbind(3)
        out = natten.na(q, k, v, self.rpb, [3, 3], [1, 2], [False, False])
        return self.proj(out.reshape(b, h, w, c))


def main():
    for name, op, arguments in cases():
        torch.library.opcheck(op, arguments)
        print("opcheck", name, "ok")

    model, x = Attention(), torch.randn(2, 8, 9, 16)
    want = model(x)
    other = [torch.randn(3, 8, 9, 16), torch.randn(5, 12, 11, 16)]
    for backend in ("aot_eager", "inductor"):
        for dynamic in (None, True):  # None: one size first, then sizes that change
            torch._dynamo.reset()
            compiled = torch.compile(model, fullgraph=True, backend=backend, dynamic=dynamic)  # a graph break is an error
            for y in [x, *other]:
                got, plain = compiled(y), model(y)
                torch.testing.assert_close(got, plain)
                parameters = list(model.parameters())
                for a, b in zip(torch.autograd.grad(got.square().sum(), parameters), torch.autograd.grad(plain.square().sum(), parameters)):
                    torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)
            print(f"torch.compile {backend}, dynamic={dynamic}: forward and backward of three sizes ok, no graph break")

    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), want)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("height", min=6), 2: torch.export.Dim("width", min=6)}
    exported = io.BytesIO()
    torch.export.save(torch.export.export(model, (x,), dynamic_shapes=(sizes,)), exported)
    exported.seek(0)
    loaded = torch.export.load(exported).module()
    for y in [x, *other]:
        torch.testing.assert_close(loaded(y), model(y))
    print("torch.export, fixed and with dynamic batch, height and width, saved and loaded: ok")

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, x), buffer)
    buffer.seek(0)
    torch.testing.assert_close(torch.jit.load(buffer)(x), want)
    print("TorchScript trace, save and load ok")


if __name__ == "__main__":
    main()

"""Writes reference.json: what timm and torch compute for the cases that the
tests of optim, schedule and mixup repeat.

    python reference.py TIMM > reference.json

TIMM is the folder of an unpacked timm wheel (1.0.20 was used); torch 2.11.0.
Only single modules of timm are imported, so torchvision is not needed.
"""
import json
import math
import sys
import types

import torch

for name, folder in {"timm": "timm", "timm.optim": "timm/optim", "timm.scheduler": "timm/scheduler",
                     "timm.utils": "timm/utils"}.items():
    package = types.ModuleType(name)
    package.__path__ = [sys.argv[1] + "/" + folder]
    sys.modules[name] = package

from timm.optim.lamb import Lamb  # noqa: E402
from timm.scheduler.cosine_lr import CosineLRScheduler  # noqa: E402
from timm.scheduler.multistep_lr import MultiStepLRScheduler  # noqa: E402
from timm.scheduler.poly_lr import PolyLRScheduler  # noqa: E402
from timm.scheduler.step_lr import StepLRScheduler  # noqa: E402
from timm.utils.model_ema import ModelEmaV3  # noqa: E402

SHAPES = [[7], [3, 4], [2, 3, 5]]


def parameters():
    """Deterministic weights; the test computes the same."""
    out = []
    for i, shape in enumerate(SHAPES):
        n = math.prod(shape)
        values = [math.sin(1 + 3 * i + 0.7 * j) for j in range(n)]
        out.append(torch.nn.Parameter(torch.tensor(values, dtype=torch.float32).reshape(shape)))
    return out


def set_gradients(params, step):
    for i, p in enumerate(params):
        n = p.numel()
        values = [math.cos(0.3 * step + i + 1.1 * j) for j in range(n)]
        p.grad = torch.tensor(values, dtype=torch.float32).reshape(p.shape)


def groups(params, decay):
    return [{"params": params[:1], "weight_decay": 0.0}, {"params": params[1:], "weight_decay": decay}]


def run(make, steps=20, clip=0.0):
    params = parameters()
    opt = make(params)
    norms = []
    for t in range(steps):
        set_gradients(params, t)
        if clip:
            norms.append(torch.nn.utils.clip_grad_norm_(params, clip).item())
        for g in opt.param_groups:
            g["lr"] = 0.01 * (1 + 0.1 * t)
        opt.step()
    return {"norms": norms, "values": [p.detach().flatten().tolist() for p in params]}


def ema(warmup):
    model = torch.nn.Module()
    model.p = torch.nn.ParameterList(parameters())
    average = ModelEmaV3(model, decay=0.9, use_warmup=warmup)
    for t in range(1, 21):
        with torch.no_grad():
            for p in model.p:
                p.add_(0.1 * math.sin(t))
        if warmup:
            average.update(model, step=t)
        else:
            average.update(model)
    return [p.detach().flatten().tolist() for p in average.module.p]


SPOILT = {3: math.inf, 9: math.inf, 10: -math.inf, 15: math.nan}  # steps whose gradients are not finite


def scaler():
    """AdamW under loss scaling: scale after each step, weights at the end."""
    params = parameters()
    opt = torch.optim.AdamW(groups(params, 0.05), lr=0.01)
    amp = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=4)
    scales = []
    for t in range(24):
        set_gradients(params, t)
        scale = amp.scale(torch.ones(())).item()
        for p in params:
            p.grad.mul_(scale)
        if t in SPOILT:
            params[1].grad[1, 2] = SPOILT[t]
        amp.step(opt)
        amp.update()
        scales.append(amp.get_scale())
    return {"scales": scales, "values": [p.detach().flatten().tolist() for p in params]}


def schedule(make, times):
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    return [make(opt)._get_lr(t)[0] for t in times]


def one_cycle(total, **kw):
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3, momentum=0.9)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=1e-3, total_steps=total, **kw)
    out = []
    for _ in range(total):
        out.append(opt.param_groups[0]["lr"])
        opt.step()
        if len(out) < total:
            sched.step()
    return out


TIMES = list(range(0, 70))
warm = dict(warmup_t=7, warmup_lr_init=1e-6)
reference = {
    "optimizers": {
        "adamw": run(lambda p: torch.optim.AdamW(groups(p, 0.05), lr=0.01)),
        "adamw_clip": run(lambda p: torch.optim.AdamW(groups(p, 0.05), lr=0.01), clip=2.0),
        "sgd": run(lambda p: torch.optim.SGD(groups(p, 0.05), lr=0.01, momentum=0.9, nesterov=True)),
        "momentum": run(lambda p: torch.optim.SGD(groups(p, 0.05), lr=0.01, momentum=0.9)),
        "lamb": run(lambda p: Lamb(groups(p, 0.05), lr=0.01, max_grad_norm=None)),
    },
    "scaler": scaler(),
    "ema": {"plain": ema(False), "warmup": ema(True)},
    "schedules": {
        "cosine": schedule(lambda o: CosineLRScheduler(o, t_initial=50, lr_min=5e-6, **warm), TIMES),
        "cosine_prefix": schedule(
            lambda o: CosineLRScheduler(o, t_initial=50, lr_min=5e-6, warmup_prefix=True, **warm), TIMES),
        "cosine_cycles": schedule(
            lambda o: CosineLRScheduler(o, t_initial=10, lr_min=5e-6, cycle_mul=2, cycle_decay=0.5, cycle_limit=2),
            TIMES),
        "cosine_k": schedule(lambda o: CosineLRScheduler(o, t_initial=50, lr_min=5e-6, k_decay=1.5), TIMES),
        "poly": schedule(lambda o: PolyLRScheduler(o, t_initial=50, power=0.5, lr_min=5e-6, **warm), TIMES),
        "step": schedule(lambda o: StepLRScheduler(o, decay_t=20, decay_rate=0.1, warmup_prefix=False, **warm), TIMES),
        "multistep": schedule(
            lambda o: MultiStepLRScheduler(o, decay_t=[20, 40], decay_rate=0.1, warmup_prefix=False, **warm), TIMES),
        "onecycle": one_cycle(60),
    },
}
json.dump(reference, sys.stdout)
print()

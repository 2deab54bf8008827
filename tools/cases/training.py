"""Optimizer, clipping of gradients and averages of weights, along given gradients or weights."""

import torch

from .common import expected, makes

SHAPES = ((3, 4), (7,), (2, 2, 3), (5, 1))


def indices(case, prefix="in.param."):
    return sorted(name[len(prefix) :] for name in case.stored if name.startswith(prefix))


@expected("diffusion/adamw")
def adamw(case):
    out, (beta1, beta2) = {}, case.config["betas"]
    with torch.no_grad():
        for run, setting in case.config["runs"].items():
            for i in indices(case):
                p, gradients, states = case[f"in.param.{i}"], case[f"in.grad.{i}"], []
                m = v = torch.zeros_like(p)
                for step, lr in enumerate(setting["lr"]):
                    g = gradients[step]
                    p = p * (1 - lr * setting["weight_decay"])
                    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
                    root = (v / (1 - beta2 ** (step + 1))).sqrt() + setting["eps"]
                    p = p - lr * m / (1 - beta1 ** (step + 1)) / root
                    states.append(p)
                out.update({f"out.{run}.param.{i}": torch.stack(states), f"out.{run}.exp_avg.{i}": m,
                            f"out.{run}.exp_avg_sq.{i}": v})
    return out


@makes("diffusion/adamw", "adamw_other_betas")
def make_adamw(m):
    steps = 7
    m.config = {"betas": [0.8, 0.95], "amsgrad": False, "steps": steps,
                "runs": {"plain": {"weight_decay": 0.0, "eps": 1e-6, "lr": [0.02] * steps},
                         "decays": {"weight_decay": 0.3, "eps": 0.02,
                                    "lr": [0.001 * (1 + i) for i in range(steps)]}}}
    for i, shape in enumerate(SHAPES):
        m.put(f"in.param.{i}", m.normal(*shape))
        m.put(f"in.grad.{i}", m.normal(steps, *shape, scale=0.5))


@expected("diffusion/clip_grad_norm")
def clip_grad_norm(case):
    gradients = {i: case[f"in.grad.{i}"] for i in indices(case)}
    norm, out = sum((g.flatten(1) ** 2).sum(1) for g in gradients.values()).sqrt(), {}
    for run, most in case.config["max_norm"].items():
        factor = (most / (norm + 1e-6)).clamp(max=1)
        out[f"out.{run}.norm"] = norm
        for i, g in gradients.items():
            out[f"out.{run}.grad.{i}"] = g * factor.reshape(-1, *[1] * (g.dim() - 1))
    return out


@makes("diffusion/clip_grad_norm", "clip_grad_norm_two")
def make_clip(m):
    m.config = {"max_norm": {"small": 0.07, "middle": 2.5}, "rule": "factor = min(1, max_norm / (norm + 1e-6)), norm over all parameters"}
    for i, shape in enumerate(SHAPES[:2]):
        m.put(f"in.param.{i}", m.normal(*shape))
        m.put(f"in.grad.{i}", m.normal(3, *shape) * torch.tensor([0.1, 1.0, 3.0]).reshape(3, *[1] * len(shape)))


@expected("diffusion/ema")
def ema(case):
    out = {}
    with torch.no_grad():
        for decay in case.config["decay"]:
            for i in indices(case):
                average, states = case[f"in.param.{i}"], []
                for p in case[f"in.trajectory.{i}"]:
                    average = decay * average + (1 - decay) * p
                    states.append(average)
                out[f"out.decay{str(decay).replace('.', '_')}.{i}"] = torch.stack(states)
    return out


@makes("diffusion/ema", "ema_four")
def make_ema(m):
    m.config = {"decay": [0.9, 0.995], "steps": 4,
                "rule": "ema = decay * ema + (1 - decay) * param; the average starts as a copy of in.param"}
    for i, shape in enumerate(SHAPES):
        m.put(f"in.param.{i}", m.normal(*shape))
        m.put(f"in.trajectory.{i}", m.normal(4, *shape))

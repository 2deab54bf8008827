"""Selections, gates, losses and statistics of routing."""

import itertools
import math
import re

import torch

from .common import expected, makes
from .moe import GATES, balance, combination_usage, csr, max_violation, select, similarity


def number(text, pattern):
    return float(re.search(pattern, text)[1])


def one_logits(case, parts, keep=True):
    """Gradients of sums over in.cotangent with respect to in.logits, by name."""
    out = {}
    for name, value in parts.items():
        out[f"grad.{name}.logits"] = case.gradients((value * case["in.cotangent"]).sum(), {"g": "in.logits"})["g"]
    return out


@expected("routing/selection")
def selection(case):
    c, out = case.config, {}
    logits = case["in.logits"]
    for strategy in c["strategies"]:
        for gate in c["gates"]:
            name = f"{strategy}.{gate}."
            # Softmax has rounding of its own where scores tie: cases with ties state it for token choice only.
            if c["ties"] and gate == "softmax" and strategy != "token":
                continue
            mask, kappa = select(case, strategy, gate, logits, c["k"])
            weight = GATES[gate](logits) * mask
            offsets, tokens = csr(mask)
            experts = torch.repeat_interleave(torch.arange(logits.shape[2]), offsets[1:] - offsets[:-1])
            out.update({"out." + name + n: v for n, v in {
                "mask": mask, "kappa": kappa, "weight": weight, "offsets": offsets, "tokens": tokens,
                "loads": mask.flatten(0, 1).sum(0), "csr_weights": weight.flatten(0, 1)[tokens, experts]}.items()})
            if "in.cotangent" in case:
                out.update(one_logits(case, {name[:-1]: weight}))
    return out


def make_selection(m, B, L, E, k, strategies, gates, ties=False, gradients=False):
    pools = {"token": E, "expert": L, "bl": B * L, "be": B * E, "le": L * E, "race": B * L * E}
    m.config = {"B": B, "L": L, "E": E, "k": k, "ties": ties, "strategies": strategies, "gates": gates,
                "K": {s: math.floor(k * pools[s] / E) for s in strategies}}
    m.put("in.logits", m.integers(3, B, L, E).double() - 1 if ties else m.normal(B, L, E, scale=1.3))
    if gradients:
        m.put("in.cotangent", m.normal(B, L, E))


ALL = ["token", "expert", "bl", "be", "le", "race"]
makes("routing/selection", "selection_ragged")(
    lambda m: make_selection(m, 2, 4, 3, 1.75, ALL, ["identity", "sigmoid", "softmax"], gradients=True))
makes("routing/selection", "selection_some")(lambda m: make_selection(m, 3, 2, 5, 2, ["race", "be"], ["softmax"]))
makes("routing/selection", "selection_ties_b")(
    lambda m: make_selection(m, 2, 5, 3, 1, ALL, ["identity", "sigmoid"], ties=True))


@expected("routing/gates")
def gates(case):
    out = {name: gate(case["in.logits"]) for name, gate in GATES.items()}
    return {**{"out." + n: v for n, v in out.items()}, **one_logits(case, out)}


@makes("routing/gates", "gates_b")
def make_gates(m):
    m.config = {"E": 5, "T": 7}
    m.put("in.logits", m.normal(7, 5, scale=4))
    m.put("in.cotangent", m.normal(7, 5))


@expected("routing/losses")
def losses(case):
    logits, mask = case["in.logits"], case["in.mask"].bool()
    loads = mask.flatten(0, 1).sum(0)
    rsl, W = similarity(logits, mask)
    parts = {"rsl": rsl, "balance": balance(logits, mask), "zloss": logits.logsumexp(-1).square().mean()}
    out = {"loads": loads, "combination_usage_percent": combination_usage(mask), "rsl_W": W, **parts}
    if loads.sum() > 0:
        out["maxvio"] = max_violation(loads)
    out = {"out." + n: v for n, v in out.items()}
    for name, value in parts.items():
        out[f"grad.{name}.logits"] = case.gradients(value, {"g": "in.logits"})["g"]
    return out


@makes("routing/losses", "losses_random")
def make_losses(m):
    m.config = {"B": 3, "E": 5, "L": 4}
    m.put("in.logits", m.normal(3, 4, 5, scale=1.5))
    m.put("in.mask", (m.uniform(3, 4, 5) < 0.4).long())


@expected("routing/combination_usage")
def usage(case):
    return {"out." + n[3:].rsplit(".", 1)[0] + ".percent": combination_usage(case[n]) for n in case.stored}


@makes("routing/combination_usage", "combination_usage_b")
def make_usage(m):
    m.config = {"share": 0.95}
    m.put("in.few.mask", (m.uniform(9, 4) < 0.3).long())
    m.put("in.many.mask", (m.uniform(50, 7) < 0.5).long())


@expected("routing/bias_update")
def bias_update(case):
    c, bias, out = case.config, case["in.bias"].detach(), {}
    for step in range(c["steps"]):
        scores = torch.sigmoid(case["in.logits"][step])
        mask = case.top_mask(scores + bias, c["k"])
        loads = mask.sum(0)
        bias = bias + c["u"] * torch.sign(loads.double().mean() - loads)
        for name, value in (("mask", mask), ("loads", loads), ("weight", scores * mask), ("bias", bias)):
            out[f"out.step{step}.{name}"] = value
    return out


@makes("routing/bias_update", "bias_update_b")
def make_bias(m):
    m.config = {"E": 4, "T": 10, "k": 1, "steps": 4, "u": 0.11}
    m.put("in.bias", m.normal(4, scale=0.1))
    m.put("in.logits", m.normal(4, 10, 4))


@expected("routing/plr")
def plr(case):
    from .dit import tokens_of

    target = tokens_of(case["in.target_image"], case.config["patch"])
    per_layer = torch.stack([(head - target).square().mean() for head in case["in.heads"]])
    out = {"out.target": target, "out.per_layer": per_layer}
    for name in case.config["reductions"]:
        value = per_layer.sum() if name == "sum" else per_layer.mean()
        out["out." + name] = value
        out[f"grad.{name}.heads"] = case.gradients(value, {"g": "in.heads"})["g"]
    return out


@makes("routing/plr", "plr_b")
def make_plr(m):
    m.config = {"B": 3, "C": 2, "image": 6, "layers": 4, "patch": 3, "reductions": ["mean", "sum"]}
    m.put("in.heads", m.normal(4, 3, 4, 18))
    m.put("in.target_image", m.normal(3, 2, 6, 6))


@expected("routing/threshold")
def threshold(case):
    c, logits = case.config, case["in.logits"].detach()
    K = math.floor(c["B"] * c["L"] * c["k"])
    kappa = torch.stack([step.flatten().sort(descending=True).values[K - 1] for step in logits])
    out = {"out.kappa": kappa}
    for name, text in c["settings"].items():
        momentum, first = number(text, r"momentum ([0-9.]+)"), re.search(r"starts at (-?[0-9.]+)", text)
        tau, taus = (float(first[1]) if first else kappa[0]), []
        for step, value in enumerate(kappa):
            tau = value if step == 0 and not first else momentum * tau + (1 - momentum) * value
            taus.append(tau)
        out[f"out.{name}.tau"] = torch.stack(taus)
        mask = case.above(case["in.infer_logits"], float(taus[-1]))
        out[f"out.{name}.infer_mask"], out[f"out.{name}.infer_weight"] = mask, case["in.infer_logits"] * mask
    out["out.equal_mask"] = case["in.equal_logits"] >= case["in.equal_tau"]
    return out


@makes("routing/threshold", "threshold_b")
def make_threshold(m):
    m.config = {"B": 3, "E": 3, "L": 4, "k": 1.25, "steps": 6,
                "settings": {"slow": "momentum 0.8, tau starts at -0.5",
                             "first": "momentum 0.6, tau starts as the first kappa"}}
    m.put("in.logits", m.normal(6, 3, 4, 3))
    m.put("in.infer_logits", m.normal(2, 4, 3))
    m.put("in.equal_logits", torch.tensor([[[0.5, -1.0], [0.25, 0.5], [0.75, 0.125]]]))
    m.put("in.equal_tau", torch.tensor(0.5))


@expected("routing/kind_token_choice")
def token_choice(case):
    p = case["in.logits"].softmax(-1)
    mask = case.top_mask(p, case.config["k"])
    alive = case["in.logits"].masked_fill(~mask, -math.inf).softmax(-1)
    parts = {"raw": p * mask, "renormalised": p * mask / (p * mask).sum(-1, keepdim=True), "survivors": alive,
             "one": mask.double()}
    return {"out.mask": mask, "out.probabilities": p, **{"out." + n: v for n, v in parts.items()},
            **one_logits(case, parts)}


@makes("routing/kind_token_choice", "kind_token_choice_b")
def make_token_choice(m):
    m.config = {"E": 5, "T": 7, "k": 3}
    m.inputs(logits=(7, 5), cotangent=(7, 5))


def places(experts, order, before=None):
    """How many earlier tokens in this order chose the same expert, plus what is before them."""
    counts, location = dict(before or {}), torch.zeros_like(experts)
    for t in order:
        e = int(experts[t])
        location[t] = counts.get(e, 0)
        counts[e] = counts.get(e, 0) + 1
    return location, counts


@expected("routing/kind_capacity_top1")
def capacity_top1(case):
    c = case.config
    T, E, f = c["T"], c["E"], c["capacity_factor"]
    rules = {"tutel": int(f * math.ceil(T / E)), "deepspeed": math.ceil(T / E * f), "floor": int(f * T / E)}
    for name, value in c["capacity_rules"].items():
        assert rules[name] == value, name
    assert rules["tutel"] == c["capacity"]
    p = case["in.logits"].softmax(-1)
    expert = case.top(p, 1)[:, 0]
    orders = {"prefix": range(T), "score": (-p.detach().max(-1).values).sort(stable=True).indices.tolist(),
              "random": (-case["in.priority"].detach()).sort(stable=True).indices.tolist()}
    out, weights = {"capacity": torch.tensor(c["capacity"]), "expert": expert, "probabilities": p}, {}
    one = torch.nn.functional.one_hot(expert, E)
    for name, order in orders.items():
        location, _ = places(expert, order)
        kept = location < c["capacity"]
        weights[name] = p * one * kept[:, None]
        out.update({f"{name}.location": location, f"{name}.kept": kept, f"{name}.weight": weights[name],
                    f"{name}.loads": (one * kept[:, None]).sum(0)})
    out["balance"] = balance(case["in.logits"], one)
    grads = one_logits(case, weights)
    grads["grad.balance.logits"] = case.gradients(out["balance"], {"g": "in.logits"})["g"]
    return {**{"out." + n: v for n, v in out.items()}, **grads}


@makes("routing/kind_capacity_top1", "kind_capacity_top1_b")
def make_top1(m):
    T, E, f = 11, 3, 0.7
    m.config = {"E": E, "T": T, "k": 1, "capacity_factor": f, "capacity": int(f * math.ceil(T / E)),
                "capacity_rules": {"tutel": int(f * math.ceil(T / E)), "floor": int(f * T / E)}}
    m.inputs(logits=(T, E), cotangent=(T, E))
    m.put("in.priority", m.uniform(T))


@expected("routing/kind_capacity_top2")
def capacity_top2(case):
    c = case.config
    T, E, x = c["T"], c["E"], case["in.x"]
    capacity = 2 * int(c["capacity_factor"] * math.ceil(T / E))
    assert capacity == c["capacity"]
    p = case["in.logits"].softmax(-1)
    experts = case.top(p, 2)
    case.top(p, 1)
    first, counts = places(experts[:, 0], range(T))
    second, _ = places(experts[:, 1], range(T), counts)
    location = torch.stack([first, second], 1)
    kept = location < capacity
    chosen = p.gather(1, experts)
    spread = lambda v: torch.zeros(T, E, dtype=torch.float64).scatter(1, experts, v)
    before = spread(chosen / chosen.sum(1, keepdim=True) * kept)
    total = (chosen * kept).sum(1, keepdim=True)
    after = spread(torch.where(total > 0, chosen * kept / total.clamp(min=1e-300), 0.0))
    rows = (experts * capacity + location)[kept]
    buffer = torch.zeros(E * capacity, x.shape[1], dtype=torch.float64)
    buffer = buffer.index_put((rows,), x.repeat_interleave(2, 0)[kept.flatten()])
    decoded = before.sum(1, keepdim=True) * x
    gshard = (p.sum(0) * torch.bincount(experts[:, 0], minlength=E)).sum() * E / T**2
    out = {"experts": experts, "location": location, "kept": kept, "buffer": buffer, "decoded": decoded,
           "loads": spread(kept.double()).sum(0).long(), "gshard_loss": gshard, "before.weight": before,
           "after.weight": after}
    grads = {}
    for name, loss in (("before", (before * case["in.weight_cotangent"]).sum()),
                       ("after", (after * case["in.weight_cotangent"]).sum()), ("gshard_loss", gshard),
                       ("decoded", (decoded * case["in.cotangent"]).sum())):
        names = {"logits": "in.logits", **({"x": "in.x"} if name == "decoded" else {})}
        grads.update({f"grad.{name}.{n}": g for n, g in case.gradients(loss, names).items()})
    return {**{"out." + n: v for n, v in out.items()}, **grads}


@makes("routing/kind_capacity_top2", "kind_capacity_top2_b")
def make_top2(m):
    T, E, f = 13, 5, 0.6
    m.config = {"D": 3, "E": E, "T": T, "k": 2, "capacity_factor": f, "capacity": 2 * int(f * math.ceil(T / E))}
    m.inputs(logits=(T, E), weight_cotangent=(T, E), x=(T, 3), cotangent=(T, 3))


@expected("routing/kind_expert_choice")
def expert_choice(case):
    c, p = case.config, case["in.logits"].softmax(-1)
    K = int(c["capacity"] * c["L"] / c["E"])
    tokens = case.top(p.transpose(1, 2), K)
    mask = torch.zeros(p.shape, dtype=torch.bool).transpose(1, 2).scatter(2, tokens, True).transpose(1, 2)
    total = (p * mask).sum(-1, keepdim=True)
    parts = {"raw": p * mask, "renormalised": p * mask / torch.where(total > 0, total, 1.0)}
    # The order of the tokens that are kept is written down too.
    kept = p.detach().transpose(1, 2).gather(2, tokens)
    if K > 1:
        case.gap = min(case.gap, float((kept[..., :-1] - kept[..., 1:]).min()))
    return {"out.mask": mask, "out.tokens": tokens, **{"out." + n: v for n, v in parts.items()},
            **one_logits(case, parts)}


@makes("routing/kind_expert_choice", "kind_expert_choice_b")
def make_expert_choice(m):
    m.config = {"B": 3, "E": 3, "L": 5, "capacity": 1, "tokens_per_expert": 1}
    m.inputs(logits=(3, 5, 3), cotangent=(3, 5, 3))


def entropy_of(p, q, eps, normalised):
    value = (1 - ((p + eps) ** q).sum(-1)) / (q - 1)
    return value / ((1 - p.shape[-1] ** (1 - q)) / (q - 1)) if normalised else value


@expected("routing/kind_dynmole")
def dynmole(case):
    """entropy-switched top-p: exclusive top-p with a floor, all experts where the entropy is high, and its loss"""
    c, p = case.config, case["in.logits"].softmax(-1)
    E = p.shape[1]
    entropy = entropy_of(p, c["q"], c.get("eps", 0), "eps" in c)
    order = torch.sort(p.detach(), dim=-1, descending=True, stable=True)
    total = order.values.cumsum(-1)
    case.gap = min(case.gap, float((total - c["top_p"]).abs().min()),
                   float((entropy.detach() - c["entropy_threshold"]).abs().min()))
    back = lambda m: torch.zeros(p.shape, dtype=torch.bool).scatter(1, order.indices, m)
    exclusive = total <= c["top_p"]
    exclusive[:, : c["keep"]] = True
    top_p = back(exclusive)
    mask = top_p | (entropy.detach() > c["entropy_threshold"])[:, None]
    nucleus = back(total - order.values < c["top_p"])
    weight = p * mask
    a, b = number(c["loss"], r"([0-9.]+)\*mean entropy"), number(c["loss"], r"([0-9.]+)\*E\*sum_e")
    loss = a * entropy.mean() + b * E * (weight.mean(0) * p.mean(0)).sum()
    return {"out.entropy": entropy, "out.mask": mask, "out.top_p_mask": top_p, "out.nucleus_mask": nucleus,
            "out.weight": weight, "out.loss": loss, **one_logits(case, {"weight": weight}),
            "grad.loss.logits": case.gradients(loss, {"g": "in.logits"})["g"]}


@makes("routing/kind_dynmole", "kind_dynmole_b")
def make_dynmole(m):
    m.config = {"E": 5, "T": 9, "q": 1.3, "eps": 1e-5, "top_p": 0.6, "keep": 1, "entropy_threshold": 0.85,
                "entropy": "[(1 - sum (p+eps)^q)/(q-1)] / [(1 - E^(1-q))/(q-1)]",
                "loss": "0.02*mean entropy + 0.003*E*sum_e mean(w_e)*mean(p_e)"}
    m.put("in.logits", m.normal(9, 5, scale=1.2))
    m.put("in.cotangent", m.normal(9, 5))


@expected("routing/kind_evomoe")
def evomoe(case):
    c, logits = case.config, case["in.logits"]
    gumbel = -torch.log(-torch.log(case["in.uniform"].detach()))
    tmax, tmin = number(c["schedule"], r"tmax ([0-9.]+)"), number(c["schedule"], r"tmin ([0-9.]+)")
    T, steps = number(c["schedule"], r"T ([0-9]+)"), case["in.schedule_steps"].double()
    out = {"out.schedule.exponential": (tmax * (tmin / tmax) ** (steps / T)).clamp(min=tmin),
           "out.schedule.linear": (tmax - steps * (tmax - tmin) / T).clamp(min=tmin),
           "out.hard_expert": case.top(logits + gumbel, 1)[:, 0]}
    for i, temperature in enumerate(c["temperatures"]):
        p = ((logits + gumbel) / temperature).softmax(-1)
        mask = p > c["threshold"]
        case.gap = min(case.gap, 100 * float((p.detach() - c["threshold"]).abs().min()))
        parts = {f"{i}.softmax": logits.softmax(-1) * mask, f"{i}.gumbel": p * mask}
        out.update({f"out.{i}.p": p, f"out.{i}.mask": mask, **{f"out.{n}_weight": v for n, v in parts.items()},
                    **one_logits(case, parts)})
    return out


@makes("routing/kind_evomoe", "kind_evomoe_b")
def make_evomoe(m):
    m.config = {"E": 4, "T": 6, "temperatures": [1.5, 0.4], "threshold": 0.02,
                "schedule": "exponential max(tmax*(tmin/tmax)^(t/T), tmin), linear tmax - t*(tmax-tmin)/T clipped at "
                            "tmin; out.schedule.* at in.schedule_steps with tmax 3, tmin 0.5, T 40"}
    m.inputs(logits=(6, 4), cotangent=(6, 4))
    m.put("in.uniform", 0.02 + 0.96 * m.uniform(6, 4))
    m.put("in.schedule_steps", [0, 7, 39, 40, 90])


@expected("routing/kind_grouped_sigmoid")
def grouped_sigmoid(case):
    c = case.config
    scores = torch.sigmoid(case["in.logits"])
    choice = (scores + case["in.bias"]).detach()
    T, E = scores.shape
    best = choice.reshape(T, c["n_group"], -1).topk(min(2, E // c["n_group"]), -1).values.sum(-1)
    groups = case.top(best, c["topk_group"]).sort(-1).values
    inside = torch.zeros(T, c["n_group"], dtype=torch.bool).scatter(1, groups, True)
    inside = inside.repeat_interleave(E // c["n_group"], 1)
    mask = torch.zeros(T, E, dtype=torch.bool)
    for t in range(T):
        own = inside[t].nonzero()[:, 0]
        mask[t, own[case.top(choice[t, own], c["k"])]] = True
    weight = scores * mask / (scores * mask).sum(-1, keepdim=True) * c["scaling"]
    grad = case.gradients((weight * case["in.cotangent"]).sum(), {"logits": "in.logits"})["logits"]
    return {"out.scores": scores, "out.groups": groups, "out.mask": mask, "out.weight": weight, "grad.logits": grad}


@makes("routing/kind_grouped_sigmoid", "kind_grouped_sigmoid_b")
def make_grouped(m):
    m.config = {"E": 9, "T": 7, "k": 2, "n_group": 3, "topk_group": 2, "scaling": 1.7}
    m.inputs(logits=(7, 9), cotangent=(7, 9))
    m.put("in.bias", 0.1 * m.uniform(9))


@expected("routing/kind_k_schedule")
def k_schedule(case):
    c = case.config
    value = lambda t: min(c["kmax"], max(c["kmin"], round((c["kmax"] - c["kmin"]) * t / c["T"] + c["kmin"])))
    return {"out.k": torch.tensor([value(t) for t in case["in.steps"].tolist()])}


@makes("routing/kind_k_schedule", "kind_k_schedule_b")
def make_k(m):
    m.config = {"T": 60, "kmin": 2, "kmax": 5}
    m.put("in.steps", [0, 10, 30, 31, 50, 60, 100])


@expected("routing/kind_mod_pmod")
def pmod(case):
    c, h, text = case.config, case["in.h"], case["in.is_text"].bool()
    swing = number(c["weight"], r"1 \+ ([0-9.]+)\*tanh")
    weight = 1 + swing * torch.tanh(h @ case["in.w"] + case["in.b"])
    vision = (~text).nonzero()[:, 0]
    kept_count = int(c["ratio"] * len(vision))
    assert kept_count == c["kept"] and len(vision) == c["vision"]
    positions = vision[case.top(weight[:, vision], kept_count)].sort(-1).values
    kept = torch.zeros(weight.shape, dtype=torch.bool).scatter(1, positions, True)
    plain, w = h + case["in.attn"].detach(), weight[..., None]
    mlp = case["in.mlp"].detach()
    out_h = torch.where(text[:, None], plain + mlp, torch.where(kept[..., None], plain + w * mlp, w * h))
    grads = case.gradients((out_h * case["in.cotangent"]).sum(), {n: "in." + n for n in ("h", "w", "b")})
    out = {"out.h": out_h, "out.weight": weight, "out.kept": kept, "out.kept_positions": positions}
    top, least = number(c["schedule"], r"1 where it exceeds ([0-9.]+)"), number(c["schedule"], r"max\(\., ([0-9.]+)\)")
    for n in c.get("depths") or (12, 32):
        shares = [0.5 * math.cos(math.pi * i / (n - 1)) + 0.5 for i in range(n)]
        out[f"out.ratio_{n}"] = torch.tensor([1.0 if s > top else max(s, least) for s in shares], dtype=torch.float64)
    return {**out, **{"grad." + n: g for n, g in grads.items()}}


@makes("routing/kind_mod_pmod", "kind_mod_pmod_b")
def make_pmod(m):
    B, L, D = 3, 9, 4
    m.config = {"B": B, "D": D, "L": L, "vision": 7, "ratio": 0.6, "kept": 4, "depths": [5, 9],
                "weight": "1 + 0.35*tanh(w.h+b)",
                "schedule": "out.ratio_<n>: 0.5*cos(pi*l/(n-1))+0.5 for l = 0..n-1; 1 where it exceeds 0.7, else "
                            "max(., 0.25)"}
    m.inputs(h=(B, L, D), attn=(B, L, D), mlp=(B, L, D), cotangent=(B, L, D), w=(D,), b=(1,))
    m.put("in.is_text", [0, 0, 1, 0, 0, 0, 1, 0, 0])


@expected("routing/kind_mor_expert_choice")
def mor_expert_choice(case):
    c, x = case.config, case["in.x"]
    N, L, state = c["depths"], c["L"], case["in.x"]
    candidates, aux, out = torch.arange(L).expand(x.shape[0], L), 0.0, {}
    gather = lambda v, at: v.gather(1, at[..., None].expand(-1, -1, v.shape[2]))
    for r in range(1, N + 1):
        k = max(1, (N - r + 1) * L // N)
        assert k == c["k"][r - 1]
        score = (gather(state, candidates) @ case["in.router"][r - 1])
        picked = case.top(score, k).sort(-1).values
        member = torch.zeros(score.shape).scatter(1, picked, 1.0).double()
        aux = aux + torch.nn.functional.binary_cross_entropy_with_logits(score, member)
        here = candidates.gather(1, picked)
        gate = c["alpha"] * torch.sigmoid(score.gather(1, picked))[..., None]
        inside = gather(state, here)
        new = inside + gate * (inside + torch.tanh(inside @ case["in.A"]))
        state = state.scatter(1, here[..., None].expand_as(new), new)
        candidates = here
        out[f"out.set{r}"] = here
    factor = number(c["loss"], r"([0-9.]+)\*out\.aux")
    loss = (state * case["in.cotangent"]).sum() + factor * aux
    grads = case.gradients(loss, {n: "in." + n for n in ("x", "A", "router")})
    return {**out, "out.x": state, "out.aux": aux, **{"grad." + n: g for n, g in grads.items()}}


@makes("routing/kind_mor_expert_choice", "kind_mor_expert_choice_b")
def make_mor_expert(m):
    B, L, D, N = 3, 8, 4, 4
    m.config = {"B": B, "D": D, "L": L, "alpha": 0.3, "depths": N, "k": [8, 6, 4, 2],
                "loss": "sum(out.x * in.cotangent) + 0.8*out.aux"}
    m.inputs(x=(B, L, D), cotangent=(B, L, D), router=(N, D))
    m.put("in.A", m.normal(D, D, scale=0.5))


@expected("routing/kind_mor_token_choice")
def mor_token_choice(case):
    c, x = case.config, case["in.x"]
    logits = x @ case["in.router"].T
    p, depth = logits.softmax(-1), case.top(logits, 1)[:, 0] + 1
    y = x
    for r in range(1, c["depths"] + 1):
        y = torch.where((depth >= r)[:, None], y + torch.tanh(y @ case["in.A"]), y)
    out_x = x + p.gather(1, depth[:, None] - 1) * y
    share = torch.bincount(depth - 1, minlength=c["depths"]).double() / len(depth)
    balance_loss, z = c["depths"] * (p.mean(0) * share).sum(), logits.logsumexp(-1).square().mean()
    loss = (out_x * case["in.cotangent"]).sum() + number(c["loss"], r"([0-9.]+)\*out\.balance") * balance_loss
    loss = loss + number(c["loss"], r"([0-9.]+)\*out\.z") * z
    grads = case.gradients(loss, {n: "in." + n for n in ("x", "A", "router")})
    return {"out.x": out_x, "out.depth": depth, "out.balance": balance_loss, "out.z": z, "out.loss": loss,
            **{"grad." + n: g for n, g in grads.items()}}


@makes("routing/kind_mor_token_choice", "kind_mor_token_choice_b")
def make_mor_token(m):
    m.config = {"D": 4, "T": 7, "depths": 4, "loss": "sum(out.x * in.cotangent) + 0.25*out.balance + 0.05*out.z"}
    m.inputs(x=(7, 4), cotangent=(7, 4), router=(4, 4))
    m.put("in.A", m.normal(4, 4, scale=0.5))


def cv2(x):
    return x.var() / (x.mean() ** 2 + 1e-10)


@expected("routing/kind_noisy_topk")
def noisy_topk(case):
    c, k, clean = case.config, case.config["k"], case["in.logits"]
    least = number(c["noisy"], r"softplus\(in\.noise_raw\)\+([0-9.]+)")
    scale = torch.nn.functional.softplus(case["in.noise_raw"]) + least
    noisy = clean + case["in.noise"].detach() * scale
    mask = case.top_mask(noisy, k)
    weight = noisy.masked_fill(~mask, -math.inf).softmax(-1)
    best = noisy.sort(-1, descending=True).values
    must_exceed = torch.where(mask, best[:, k : k + 1], best[:, k - 1 : k])
    load = torch.special.ndtr((clean - must_exceed) / scale).sum(0)
    importance = weight.sum(0)
    loss = (weight * case["in.cotangent"]).sum() + cv2(importance) + cv2(load)
    grads = case.gradients(loss, {"logits": "in.logits", "noise_raw": "in.noise_raw"})
    return {"out.noisy": noisy, "out.mask": mask, "out.weight": weight, "out.importance": importance,
            "out.load": load, "out.cv2_importance": cv2(importance), "out.cv2_load": cv2(load),
            **{"grad." + n: g for n, g in grads.items()}}


@makes("routing/kind_noisy_topk", "kind_noisy_topk_b")
def make_noisy(m):
    m.config = {"E": 5, "T": 8, "k": 3, "noisy": "in.logits + in.noise*(softplus(in.noise_raw)+0.03)"}
    m.inputs(**{n: (8, 5) for n in ("logits", "noise", "noise_raw", "cotangent")})


@expected("routing/kind_cosine_gate")
def cosine_gate(case):
    unit, out = lambda v: v / v.norm(dim=-1, keepdim=True), {}
    projected = case["in.x"] @ case["in.projection"].T + case["in.projection_bias"]
    for name in sorted(n[7:] for n in case.stored if n.startswith("in.tau_")):
        tau = case["in.tau_" + name]
        logits = unit(projected) @ unit(case["in.experts"]).T * torch.exp(tau.clamp(max=math.log(100)))
        p = logits.softmax(-1)
        mask = case.top_mask(logits, case.config["k"])
        weight = p * mask / (p * mask).sum(-1, keepdim=True)
        out.update({f"out.{name}.logits": logits, f"out.{name}.mask": mask, f"out.{name}.weight": weight})
        names = {n: "in." + n for n in ("x", "projection", "projection_bias", "experts")} | {"tau": "in.tau_" + name}
        grads = case.gradients((weight * case["in.cotangent"]).sum(), names)
        out.update({f"grad.{name}.{n}": g for n, g in grads.items()})
    return out


@makes("routing/kind_cosine_gate", "kind_cosine_gate_b")
def make_cosine(m):
    m.config = {"D": 5, "E": 4, "T": 6, "k": 1, "projected": 3, "temperature": "exp(min(tau, ln 100))"}
    m.config["k"] = 3
    m.inputs(x=(6, 5), projection=(3, 5), projection_bias=(3,), experts=(4, 3), cotangent=(6, 4))
    m.put("in.tau_soft", torch.tensor([0.3]))
    m.put("in.tau_warm", torch.tensor([1.4]))
    m.put("in.tau_clamped", torch.tensor([7.0]))


@expected("routing/kind_centroid_gate")
def centroid_gate(case):
    distance, out = (case["in.x"][:, None] - case["in.centroids"].detach()).norm(dim=-1), {}
    out["out.distance"] = distance
    for rule, score in (("farthest", distance), ("nearest", -distance)):
        mask = case.top_mask(score, case.config["k"])
        weight = score.masked_fill(~mask, -math.inf).softmax(-1)
        out[f"out.{rule}.mask"], out[f"out.{rule}.weight"] = mask, weight
        out[f"grad.{rule}.x"] = case.gradients((weight * case["in.cotangent"]).sum(), {"x": "in.x"})["x"]
    return out


@makes("routing/kind_centroid_gate", "kind_centroid_gate_b")
def make_centroid(m):
    m.config = {"D": 4, "E": 6, "T": 5, "k": 3}
    m.inputs(x=(5, 4), centroids=(6, 4), cotangent=(5, 6))


@expected("routing/kind_avg_k_gate")
def avg_k_gate(case):
    c, x, cluster = case.config, case["in.x"], case["in.cluster"]
    act = {"relu": torch.relu, "silu": torch.nn.functional.silu}[c["activation"]]
    own = torch.nn.functional.one_hot(cluster, c["E"]).double()
    gate = x @ ((own.T @ case["in.w1"]) / own.sum(0)[:, None]).T
    mask = case.top_mask(gate, c["k"])
    hidden = act(x @ case["in.w1"].T + case["in.b1"].detach())
    y_of = lambda used: (hidden * (used.double() @ own.T)) @ case["in.w2"].T + case["in.b2"].detach()
    y = y_of(mask)
    grads = case.gradients((y * case["in.cotangent"]).sum(), {n: "in." + n for n in ("x", "w1", "w2")})
    return {"out.gate": gate, "out.mask": mask, "out.y": y, "out.y_all_experts": y_of(torch.ones_like(mask)),
            **{"grad." + n: g for n, g in grads.items()}}


@makes("routing/kind_avg_k_gate", "kind_avg_k_gate_b")
def make_avg_k(m):
    D, E, F, T = 4, 3, 15, 6
    m.config = {"D": D, "E": E, "F": F, "T": T, "k": 1, "activation": "silu"}
    m.inputs(x=(T, D), w1=(F, D), b1=(F,), w2=(D, F), b2=(D,), cotangent=(T, D))
    m.put("in.cluster", torch.arange(F)[torch.randperm(F, generator=m.generator)] % E)


@expected("routing/kind_smoothed_gate")
def smoothed_gate(case):
    c, u, out = case.config, case["in.u"], {}
    base = (u @ case["in.gate"].T).softmax(-1)
    alike = u @ case["in.similarity"] @ u.transpose(1, 2) / c["temperature"]
    for name in ("causal", "full"):
        own = alike
        if name == "causal":
            own = alike.masked_fill(torch.ones(alike.shape[1:], dtype=torch.bool).triu(1), -math.inf)
        scores = own.softmax(-1) @ base
        mask = case.top_mask(scores, c["k"])
        out.update({f"out.{name}.scores": scores, f"out.{name}.mask": mask, f"out.{name}.weight": scores * mask})
        grads = case.gradients((scores * mask * case["in.cotangent"]).sum(),
                               {n: "in." + n for n in ("u", "gate", "similarity")})
        out.update({f"grad.{name}.{n}": g for n, g in grads.items()})
    return out


@makes("routing/kind_smoothed_gate", "kind_smoothed_gate_b")
def make_smoothed(m):
    m.config = {"B": 3, "D": 3, "E": 5, "L": 4, "k": 1, "temperature": 0.8}
    m.inputs(u=(3, 4, 3), gate=(5, 3), similarity=(3, 3), cotangent=(3, 4, 5))


@expected("routing/kind_promoe")
def promoe(case):
    c, x, prototypes = case.config, case["in.x"], case["in.prototypes"]
    unit = lambda v: v / v.norm(dim=-1, keepdim=True)
    scores = unit(x) @ unit(prototypes).T
    mask = case.top_mask(scores, c["k"]) & (case["in.null_label"] == 0)[:, None]
    active = mask.any(0).nonzero()[:, 0]
    assert active.tolist() == c.get("active", active.tolist())
    means = torch.stack([x[mask[:, e]].mean(0) for e in active])
    alike = unit(prototypes[active]) @ unit(means).T / c["temperature"]
    loss = -alike.log_softmax(-1).diagonal().mean()
    names, out = {n: "in." + n for n in ("x", "prototypes")}, {}
    for name, value in (("weight", (scores * mask * case["in.cotangent"]).sum()), ("loss", loss)):
        out.update({f"grad.{name}.{n}": g for n, g in case.gradients(value, names).items()})
    return {"out.scores": scores, "out.mask": mask, "out.weight": scores * mask, "out.loss": loss, **out}


@makes("routing/kind_promoe", "kind_promoe_b")
def make_promoe(m):
    m.config = {"D": 4, "E": 4, "T": 10, "k": 2, "temperature": 0.2}
    m.inputs(x=(10, 4), prototypes=(4, 4), cotangent=(10, 4))
    m.put("in.null_label", [0, 0, 1, 0, 0, 0, 0, 1, 1, 0])


@expected("routing/kind_task_information_loss")
def task_information(case):
    p, task = case["in.logits"].softmax(-1), case["in.task"]
    joint = torch.nn.functional.one_hot(task, case.config["tasks"]).double().T @ p / len(p)
    margins = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    loss = -(joint * (joint / margins).log()).sum()
    return {"out.joint": joint, "out.loss": loss, "grad.logits": case.gradients(loss, {"g": "in.logits"})["g"]}


@makes("routing/kind_task_information_loss", "kind_task_information_loss_b")
def make_task(m):
    m.config = {"E": 6, "T": 11, "tasks": 4}
    m.put("in.logits", m.normal(11, 6))
    m.put("in.task", [0, 1, 2, 3, 0, 1, 2, 3, 3, 3, 1])


@expected("routing/kind_soft_moe")
def soft_moe(case):
    x, phi = case["in.x"], case["in.phi"]
    logits = torch.einsum("bld,des->bles", x, phi)
    dispatch = logits.softmax(1)
    combine = logits.flatten(2).softmax(-1).reshape(logits.shape)
    slots = torch.einsum("bles,bld->besd", dispatch, x)
    y = torch.einsum("bles,besd->bld", combine, torch.tanh(torch.einsum("edf,besf->besd", case["in.expert"], slots)))
    grads = case.gradients((y * case["in.cotangent"]).sum(), {n: "in." + n for n in ("x", "phi", "expert")})
    return {"out.dispatch": dispatch, "out.combine": combine, "out.slots": slots, "out.y": y,
            **{"grad." + n: g for n, g in grads.items()}}


@makes("routing/kind_soft_moe", "kind_soft_moe_b")
def make_soft(m):
    m.config = {"B": 3, "D": 4, "E": 2, "L": 6, "slots": 3}
    m.inputs(x=(3, 6, 4), phi=(4, 2, 3), expert=(2, 4, 4), cotangent=(3, 6, 4))


def prior_table(T, blocks, M, k):
    ones, width = blocks * k, blocks * M
    table = torch.zeros(T, width)
    for t in range(T):
        start = round((width - ones) * (t / (T - 1)) ** 4)
        table[t, start : start + ones] = 1
    return table


@expected("routing/kind_switch_dit")
def switch_dit(case):
    c = case.config
    T, N, M, k, eps = c["timesteps"], c["blocks"], c["M"], c["k"], c["epsilon"]
    code = case["in.embedding"].detach()
    code = code * torch.sigmoid(code)
    p = torch.einsum("td,nmd->tnm", code, case["in.gate_weight"]) + case["in.gate_bias"]
    p = p.softmax(-1)
    used = case.top_mask(p, k)
    table, q = prior_table(T, N, M, k), used.reshape(T, -1).float()
    cost = (q[:, :, None] - table[:, None, :]).abs().sum(0).tolist()
    best, targets = math.inf, []
    for columns in itertools.permutations(range(N * M)):
        total = sum(cost[a][b] for a, b in enumerate(columns))
        if total < best:
            best, targets = total, []
        if total == best:
            targets.append(columns)
    assignment = torch.tensor(targets[0])
    # Several assignments may be as good; what they give must be the same for the loss to be defined.
    if any((table[:, list(other)] != table[:, assignment]).any() for other in targets):
        case.gap = 0
    target = table[:, assignment].double() / (N * k)
    a, b = p.flatten(1)[case["in.t"]] / N, target[case["in.t"]]
    middle = (a + b) / 2
    kl = lambda v: (v * ((v + eps) / (middle + eps)).log()).sum(-1)
    loss = (0.5 * kl(a) + 0.5 * kl(b)).mean()
    z, first = case["in.z"].detach(), (p * used)[case["in.t"], 0]
    every = torch.einsum("bld,med->bmle", z, case["in.U"]) + case["in.u"][None, :, None]
    grads = case.gradients(loss, {n: "in." + n for n in ("gate_weight", "gate_bias")})
    return {"out.probabilities": p, "out.indicator": used, "out.table": table.long(), "out.assignment": assignment,
            "out.assignment_cost": torch.tensor(best, dtype=torch.float64), "out.target": target,
            "out.prior_loss": loss, "out.mask": 1 + (first[:, :, None, None] * every).sum(1),
            **{"grad." + n: g for n, g in grads.items()}}


@makes("routing/kind_switch_dit", "kind_switch_dit_b")
def make_switch(m):
    T, N, M, k, B, L, D = 7, 2, 3, 1, 4, 3, 5
    m.config = {"B": B, "D": D, "L": L, "M": M, "blocks": N, "epsilon": 1e-6, "k": k, "timesteps": T}
    m.inputs(U=(M, D, D), u=(M, D), embedding=(T, D), gate_bias=(N, M), gate_weight=(N, M, D), z=(B, L, D))
    m.put("in.t", [6, 0, 3, 3])

"""Sparse layers: Expert Race, DiT-MoE, EC-DiT, DiffMoE and mixture of heads."""

import math

import torch

from .common import expected, gelu_tanh, linear, makes, silu
from .dit import attention

GATES = {"identity": lambda s: s, "sigmoid": torch.sigmoid, "softmax": lambda s: s.softmax(-1)}


def select(case, strategy, gate, logits, k):
    """Mask [B, L, E] and kappa of the strategy: in each row of its view the K = floor(k pool / E) best pairs."""
    B, L, E = logits.shape
    gated = GATES[gate](logits)
    key = gated if gate == "softmax" else logits
    order = {"token": (0, 1, 2), "expert": (0, 2, 1), "bl": (2, 0, 1), "be": (1, 0, 2), "le": (0, 1, 2),
             "race": (0, 1, 2)}[strategy]
    rows = {"token": B * L, "expert": B * E, "bl": E, "be": L, "le": B, "race": 1}[strategy]
    view = lambda x: x.permute(order).reshape(rows, -1)
    pool = B * L * E // rows
    K = math.floor(k * pool / E)
    mask = case.top_mask(view(key), K)
    back = [order.index(i) for i in range(3)]
    sizes = [logits.shape[i] for i in order]
    mask_BLE = mask.reshape(sizes).permute(back)
    best = view(gated).sort(-1, descending=True).values
    kappa = best[:, K - 1] if K > 0 else torch.full((rows,), math.inf, dtype=torch.float64)
    return mask_BLE, kappa


def csr(mask):
    """offsets [E+1] and the tokens of each expert in ascending order."""
    flat = mask.flatten(0, -2)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), flat.sum(0).cumsum(0)])
    return offsets, torch.cat([flat[:, e].nonzero()[:, 0] for e in range(flat.shape[1])])


def similarity(logits, mask):
    """The router similarity loss and its weights W."""
    P, M = logits.flatten(0, -2).softmax(-1), mask.flatten(0, -2).double()
    E, together = P.shape[1], M.T @ M
    eye = torch.eye(E, dtype=torch.float64)
    own, others = (together * eye).sum(), (together * (1 - eye)).sum()
    W = torch.zeros_like(together)
    if own > 0:
        W = W + E * together * eye / own
    if others > 0:
        W = W + (E * E - E) * together * (1 - eye) / others
    return (W * (P.T @ P)).sum() / len(P), W


def balance(logits, mask):
    P, M = logits.flatten(0, -2).softmax(-1), mask.flatten(0, -2).double()
    share = M.sum(0) / M.sum() if M.sum() > 0 else torch.zeros(M.shape[1], dtype=torch.float64)
    return P.shape[1] * (share * P.mean(0)).sum()


def max_violation(loads):
    loads = loads.double()
    return (loads.max() - loads.mean()) / loads.mean()


def combination_usage(mask):
    """Percentage of pairs of experts whose share of all meetings, cumulated from the largest, is below 95 %."""
    M = mask.flatten(0, -2).long()
    together = M.T @ M
    E = together.shape[0]
    counts = sorted((int(together[i, j]) for i in range(E) for j in range(i + 1, E)), reverse=True)
    total, below, so_far = sum(counts), 0, 0
    for count in counts:
        so_far += count
        below += 100 * so_far < 95 * total
    return torch.tensor(100.0 * below / len(counts) if counts and total else 0.0, dtype=torch.float64)


def mlp_experts(w, prefix, x):
    """[T, E, D] every expert on every token, for stacked weights."""
    hidden = gelu_tanh(torch.einsum("td,ehd->teh", x, w[prefix + "fc1.weight"]) + w[prefix + "fc1.bias"])
    return torch.einsum("teh,edh->ted", hidden, w[prefix + "fc2.weight"]) + w[prefix + "fc2.bias"]


def race_layer(case, w, prefix, x, k, gate="identity", strategy="race", mask=None):
    """A sparse layer with a D-D-E router: what it computes, by name."""
    z = gelu_tanh(linear(x, w, prefix + "router.hidden"))
    logits = linear(z, w, prefix + "router.gate")
    kappa = None
    if mask is None:
        mask, kappa = select(case, strategy, gate, logits, k)
    else:
        mask = mask(logits)
    weight = (GATES[gate](logits) * mask).flatten(0, 1)
    y = torch.einsum("te,ted->td", weight, mlp_experts(w, prefix + "experts.", x.flatten(0, 1))).reshape(x.shape)
    head = linear(z, w, prefix + "router.target") if prefix + "router.target.weight" in w else None
    return {"y": y, "logits": logits, "mask": mask, "kappa": kappa, "head": head}


def trainable(case):
    return {n.removeprefix("weight."): n for n in case.stored
            if n.startswith("weight.") and not n.endswith(("threshold", "ema_decay", "pos_embed"))}


@expected("moe/race")
def race(case):
    c, w, x = case.config, case.weights(), case["in.x"]
    got = race_layer(case, w, "moe.", x, c["k"], c["gate"])
    y, mask, kappa = got["y"], got["mask"], got["kappa"].reshape([])
    of_y = (y * case["in.cotangent"]).sum()
    plr, rsl = (got["head"] - case["in.target"]).square().mean(), similarity(got["logits"], mask)[0]
    loss = of_y + c["lambda_plr"] * plr + c["lambda_rsl"] * rsl
    grad_logits = torch.autograd.grad(of_y, [got["logits"]], retain_graph=True, allow_unused=True)[0]
    offsets, tokens = csr(mask)
    loads, m = mask.flatten(0, 1).sum(0), c["threshold_momentum"]
    infer = race_layer(case, w, "moe.", x, c["k"], c["gate"], mask=lambda s: case.above(GATES[c["gate"]](s), c["infer_threshold"]))
    out = {"y": y, "logits": got["logits"], "mask": mask, "kappa": kappa, "head": got["head"], "offsets": offsets,
           "tokens": tokens, "loads": loads, "maxvio": max_violation(loads),
           "combination_usage_percent": combination_usage(mask), "logits_grad_of_y": grad_logits, "plr": plr,
           "rsl": rsl, "loss": loss, "threshold": m * w["moe.router.threshold"] + (1 - m) * kappa,
           "infer.mask": infer["mask"], "infer.y": infer["y"]}
    assert int(mask.sum()) == c["K"]
    grads = case.gradients(loss, {"x": "in.x", **trainable(case)})
    return {**{"out." + n: v for n, v in out.items()}, **{"grad." + n: g for n, g in grads.items()}}


def make_race_weights(m, prefix, D, E, hidden, target=0):
    put = lambda name, *shape, scale=None: m.put("weight." + prefix + name,
                                                 m.normal(*shape, scale=scale or shape[-1] ** -0.5))
    put("router.hidden.weight", D, D)
    put("router.hidden.bias", D, scale=0.2)
    put("router.gate.weight", E, D, scale=1.5 * D**-0.5)
    put("router.gate.bias", E, scale=0.3)
    put("experts.fc1.weight", E, hidden, D)
    put("experts.fc1.bias", E, hidden, scale=0.2)
    put("experts.fc2.weight", E, D, hidden)
    put("experts.fc2.bias", E, D, scale=0.2)
    if target:
        put("router.target.weight", target, D)
        put("router.target.bias", target, scale=0.2)
        m.put("weight." + prefix + "router.threshold", torch.tensor(0.4))


def make_race(m, B, L, D, E, hidden, k, width, momentum, threshold, gate="identity"):
    m.config = {"B": B, "L": L, "D": D, "E": E, "hidden": hidden, "k": k, "K": math.floor(B * L * k),
                "target_width": width, "gate": gate, "router_activation": "gelu_tanh",
                "expert_activation": "gelu_tanh", "lambda_plr": 0.8, "lambda_rsl": 0.15,
                "threshold_momentum": momentum, "infer_threshold": threshold,
                "loss": "sum(out.y * in.cotangent) + lambda_plr * out.plr + lambda_rsl * out.rsl"}
    make_race_weights(m, "moe.", D, E, hidden, width)
    m.inputs(x=(B, L, D), cotangent=(B, L, D), target=(B, L, width))


@makes("moe/race", "race_three")
def make_race_three(m):
    make_race(m, 3, 3, 6, 5, 7, 1.4, 3, 0.9, 0.25)


@makes("moe/race", "race_sigmoid")
def make_race_sigmoid(m):
    make_race(m, 2, 4, 8, 3, 5, 2, 2, 0.97, 0.45, "sigmoid")


@expected("moe/strategies")
def strategies(case):
    c, w, out = case.config, case.weights(), {}
    for strategy in c["strategies"]:
        for gate in c["gates"]:
            got = race_layer(case, w, "moe.", case["in.x"], c["k"], gate, strategy)
            name = f"{strategy}.{gate}."
            out["out." + name + "y"], out["out." + name + "mask"] = got["y"], got["mask"]
            names = {"x": "in.x"} | {n: "weight." + n for n in ("moe.router.gate.weight", "moe.router.hidden.bias")}
            grads = case.gradients((got["y"] * case["in.cotangent"]).sum(), names)
            out.update({"grad." + name + n: g for n, g in grads.items()})
    return out


@makes("moe/strategies", "strategies_b")
def make_strategies(m):
    m.config = {"B": 3, "L": 5, "D": 4, "E": 3, "hidden": 6, "k": 1.5, "strategies": ["race", "be", "token"],
                "gates": ["softmax", "identity"], "router_activation": "gelu_tanh", "expert_activation": "gelu_tanh"}
    make_race_weights(m, "moe.", 4, 3, 6)
    m.inputs(x=(3, 5, 4), cotangent=(3, 5, 4))


def swiglu(w, prefix, x):
    return linear(silu(linear(x, w, prefix + "gate_proj")) * linear(x, w, prefix + "up_proj"), w, prefix + "down_proj")


def dit_moe_layer(case, w, prefix, x, E, k, alpha):
    """y, mask [T, E], weights [T, E] and the balance loss with alpha inside."""
    flat = x.flatten(0, 1)
    p = (flat @ w[prefix + "gate.weight"].T).softmax(-1)
    mask = case.top_mask(p, k)
    y = sum((p * mask)[:, e : e + 1] * swiglu(w, f"{prefix}experts.{e}.", flat) for e in range(E))
    y = y + swiglu(w, prefix + "shared_experts.", flat)
    share = mask.sum(0).double() * E / (k * len(flat))
    return y.reshape(x.shape), mask, p * mask, alpha * (share * p.mean(0)).sum()


@expected("moe/dit_moe")
def dit_moe(case):
    c = case.config
    y, mask, weight, aux = dit_moe_layer(case, case.weights(), "", case["in.x"], c["E"], c["k"], c["aux_alpha"])
    loss = (y * case["in.cotangent"]).sum() + aux
    grads = case.gradients(loss, {"x": "in.x", **trainable(case)})
    out = {"y": y, "mask": mask, "weight": weight, "aux_loss": aux, "loss": loss, "loads": mask.sum(0)}
    return {**{"out." + n: v for n, v in out.items()}, **{"grad." + n: g for n, g in grads.items()}}


def make_swiglu(m, prefix, D, hidden):
    m.put(f"weight.{prefix}gate_proj.weight", m.normal(hidden, D, scale=D**-0.5))
    m.put(f"weight.{prefix}up_proj.weight", m.normal(hidden, D, scale=D**-0.5))
    m.put(f"weight.{prefix}down_proj.weight", m.normal(D, hidden, scale=hidden**-0.5))


def make_dit_moe_weights(m, prefix, D, E, hidden, shared):
    m.put(f"weight.{prefix}gate.weight", m.normal(E, D))
    for e in range(E):
        make_swiglu(m, f"{prefix}experts.{e}.", D, hidden)
    make_swiglu(m, prefix + "shared_experts.", D, shared)


@makes("moe/dit_moe", "dit_moe_top3")
def make_dit_moe(m):
    m.config = {"B": 3, "L": 4, "D": 6, "E": 5, "k": 3, "expert_hidden": 8, "shared_hidden": 5, "aux_alpha": 0.3,
                "loss": "sum(out.y * in.cotangent) + out.aux_loss (aux_loss already holds alpha)"}
    make_dit_moe_weights(m, "", 6, 5, 8, 5)
    m.inputs(x=(3, 4, 6), cotangent=(3, 4, 6))


def numbered_experts(w, prefix, x, E):
    run = lambda e: linear(gelu_tanh(linear(x, w, f"{prefix}experts.{e}.fc1")), w, f"{prefix}experts.{e}.fc2")
    return torch.stack([run(e) for e in range(E)], -2)


@expected("moe/ec_dit")
def ec_dit(case):
    c, w, x = case.config, case.weights(), case["in.x"]
    K = int(c["L"] / c["E"] * c["capacity"])
    assert K == c["K_per_expert"]
    p = (x @ w["gate_weight"].T).softmax(-1)
    mask = case.top_mask(p.transpose(1, 2), K).transpose(1, 2)
    y = ((p * mask)[..., None] * numbered_experts(w, "", x, c["E"])).sum(-2)
    grads = case.gradients((y * case["in.cotangent"]).sum(), {"x": "in.x", **trainable(case)})
    return {"out.y": y, "out.mask": mask, "out.weight": p * mask, **{"grad." + n: g for n, g in grads.items()}}


def make_numbered(m, prefix, D, E, hidden):
    m.put(f"weight.{prefix}gate_weight", m.normal(E, D))
    for e in [f"experts.{e}" for e in range(E)]:
        m.put(f"weight.{prefix}{e}.fc1.weight", m.normal(hidden, D, scale=D**-0.5))
        m.put(f"weight.{prefix}{e}.fc1.bias", m.normal(hidden, scale=0.2))
        m.put(f"weight.{prefix}{e}.fc2.weight", m.normal(D, hidden, scale=hidden**-0.5))
        m.put(f"weight.{prefix}{e}.fc2.bias", m.normal(D, scale=0.2))


@makes("moe/ec_dit", "ec_dit_b")
def make_ec(m):
    m.config = {"B": 3, "L": 8, "D": 6, "E": 3, "K_per_expert": 5, "capacity": 2, "hidden": 7, "activation": "gelu_tanh",
                "loss": "sum(out.y * in.cotangent)"}
    make_numbered(m, "", 6, 3, 7)
    m.inputs(x=(3, 8, 6), cotangent=(3, 8, 6))


def diffmoe_layer(case, w, prefix, x, E, capacity):
    """A training forward of DiffMoE: experts choose from the tokens of the whole batch."""
    flat = x.flatten(0, 1)
    K = int(len(flat) / E * capacity)
    p = (flat @ w[prefix + "gate_weight"].T).softmax(-1)
    mask = case.top_mask(p.T, K).T
    every = numbered_experts(w, prefix, flat, E)
    shared = (linear(gelu_tanh(linear(flat, w, prefix + "shared_experts.fc1")), w, prefix + "shared_experts.fc2")
              if prefix + "shared_experts.fc1.weight" in w else 0)
    y = ((p * mask)[..., None] * every).sum(-2) + shared
    still = flat.detach()
    capacity_logits = linear(silu(linear(still, w, prefix + "capacity_predictor.0")), w,
                             prefix + "capacity_predictor.2")
    loss = torch.nn.functional.binary_cross_entropy_with_logits(capacity_logits, mask.double())
    least = torch.sigmoid(capacity_logits).sort(0, descending=True).values[K - 1]
    decay = w[prefix + "ema_decay"]
    return {"y": y.reshape(x.shape), "mask": mask.reshape(*x.shape[:2], E), "scores": p.reshape(*x.shape[:2], E),
            "capacity_logits": capacity_logits.reshape(*x.shape[:2], E), "capacity_loss": loss, "K": K,
            "expert_threshold": decay * w[prefix + "expert_threshold"] + (1 - decay) * least, "every": every,
            "shared": shared}


@expected("moe/diffmoe_block")
def diffmoe_block(case):
    c, x = case.config, case["in.x"]
    got = diffmoe_layer(case, case.weights(), "", x, c["E"], c["capacity"])
    assert got["K"] == c["K_per_expert"]
    loss = (got["y"] * case["in.cotangent"]).sum() + got["capacity_loss"]
    p = got["scores"].flatten(0, 1)
    counts = case.above(torch.sigmoid(got["capacity_logits"]).flatten(0, 1), case["in.infer_threshold"].detach()).sum(0)
    chosen = torch.stack([case.top_mask(p[:, e], int(n)) for e, n in enumerate(counts)], 1)
    infer = ((p * chosen)[..., None] * got["every"]).sum(-2) + got["shared"]
    keep = ("y", "mask", "scores", "capacity_logits", "capacity_loss", "expert_threshold")
    grads = case.gradients(loss, {"x": "in.x", **trainable(case)})
    return {**{"out." + n: got[n] for n in keep}, "out.loss": loss, "out.infer.counts": counts,
            "out.infer.y": infer.reshape(x.shape), **{"grad." + n: g for n, g in grads.items()}}


def make_diffmoe_weights(m, prefix, D, E, hidden, shared, decay):
    make_numbered(m, prefix, D, E, hidden)
    for name, shape in (("capacity_predictor.0", (D, D)), ("capacity_predictor.2", (E, D))):
        m.put(f"weight.{prefix}{name}.weight", m.normal(*shape, scale=D**-0.5))
        m.put(f"weight.{prefix}{name}.bias", m.normal(shape[0], scale=0.2))
    if shared:
        m.put(f"weight.{prefix}shared_experts.fc1.weight", m.normal(shared, D, scale=D**-0.5))
        m.put(f"weight.{prefix}shared_experts.fc1.bias", m.normal(shared, scale=0.2))
        m.put(f"weight.{prefix}shared_experts.fc2.weight", m.normal(D, shared, scale=shared**-0.5))
        m.put(f"weight.{prefix}shared_experts.fc2.bias", m.normal(D, scale=0.2))
    m.put(f"weight.{prefix}ema_decay", torch.tensor([decay]))
    m.put(f"weight.{prefix}expert_threshold", 0.3 + 0.2 * m.uniform(E))


def make_diffmoe(m, B, L, D, E, capacity, hidden, shared, decay):
    m.config = {"B": B, "L": L, "D": D, "E": E, "K_per_expert": int(B * L / E * capacity), "capacity": capacity,
                "hidden": hidden, "n_shared_experts": int(shared > 0), "shared_hidden": shared, "ema_decay": decay,
                "activation": "gelu_tanh", "predictor_activation": "silu",
                "loss": "sum(out.y * in.cotangent) + out.capacity_loss"}
    make_diffmoe_weights(m, "", D, E, hidden, shared, decay)
    m.inputs(x=(B, L, D), cotangent=(B, L, D))
    m.put("in.infer_threshold", 0.35 + 0.3 * m.uniform(E))


@makes("moe/diffmoe_block", "diffmoe_block_b")
def make_diffmoe_b(m):
    make_diffmoe(m, 3, 4, 6, 3, 1, 7, 0, 0.9)


@makes("moe/diffmoe_block", "diffmoe_block_shared_b")
def make_diffmoe_shared(m):
    make_diffmoe(m, 2, 5, 4, 5, 2, 6, 5, 0.8)


def moh_gates(case, w, x, heads, shared, k):
    """[B, L, heads] the factor of every head, and the balance loss k at even loads."""
    if k == 0:
        return heads * (x @ w["wg_1.weight"].T).softmax(-1), torch.zeros([], dtype=torch.float64)
    p = (x @ w["wg.weight"].T).softmax(-1)
    mask = case.top_mask(p, k)
    routed = k * p * mask / (p * mask).sum(-1, keepdim=True)
    loss = (heads - shared) * (p.flatten(0, 1).mean(0) * mask.flatten(0, 1).double().mean(0)).sum()
    if shared == 0:
        return routed, loss
    first, second = (2 * (x @ w["wg_0.weight"].T).softmax(-1)).unbind(-1)
    own = shared * (x @ w["wg_1.weight"].T).softmax(-1)
    return torch.cat([first[..., None] * own, second[..., None] * routed], -1), loss


@expected("moe/moh")
def moh(case):
    c, w, x = case.config, case.weights(), case["in.x"]
    gates, loss_b = moh_gates(case, w, x, c["heads"], c["shared_head"], c["routed_head"])
    y = attention(x, w, "", c["heads"], gates)
    factor = float(c["loss"].split(" + ")[1].split(" * ")[0])
    loss = (y * case["in.cotangent"]).sum() + factor * loss_b
    grads = case.gradients(loss, {"x": "in.x", **trainable(case)})
    return {"out.y": y, "out.gates": gates, "out.balance_loss": loss_b, "out.loss": loss,
            **{"grad." + n: g for n, g in grads.items()}}


def make_moh(m, B, L, D, heads, shared, k, factor):
    m.config = {"B": B, "L": L, "D": D, "heads": heads, "shared_head": shared, "routed_head": k,
                "loss": f"sum(out.y * in.cotangent) + {factor} * out.balance_loss"}
    for name, shape in (("qkv", (3 * D, D)), ("proj", (D, D))):
        m.put(f"weight.{name}.weight", m.normal(*shape, scale=D**-0.5))
        m.put(f"weight.{name}.bias", m.normal(shape[0], scale=0.2))
    if k:
        m.put("weight.wg.weight", m.normal(heads - shared, D))
    if shared:
        m.put("weight.wg_1.weight", m.normal(shared, D))
    if k and shared:
        m.put("weight.wg_0.weight", m.normal(2, D))
    m.inputs(x=(B, L, D), cotangent=(B, L, D))


makes("moe/moh", "moh_five")(lambda m: make_moh(m, 3, 3, 10, 5, 2, 1, 0.3))
makes("moe/moh", "moh_routed_two")(lambda m: make_moh(m, 2, 3, 6, 3, 0, 2, 1.5))

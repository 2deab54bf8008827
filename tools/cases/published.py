"""Functions and layers of published models outside the folders of diffusion and routing."""

import torch

from .common import expected, gelu_tanh, makes, silu

ACTIVATIONS = {"relu": torch.relu, "silu": silu, "gelu_tanh": gelu_tanh}
GATED = {"swiglu": silu, "reglu": torch.relu, "geglu_tanh": gelu_tanh}


def with_gradients(case, y, names):
    loss = (y * case["in.cotangent"]).sum()
    grads = case.gradients(loss, names)
    return {"out.y": y, "out.loss": loss, **{"grad." + n: g for n, g in grads.items()}}


@expected("activation/gelu_tanh")
def gelu(case):
    return with_gradients(case, gelu_tanh(case["in.x"]), {"x": "in.x"})


@makes("activation/gelu_tanh", "gelu_tanh_b")
def make_gelu(m):
    m.config = {"kind": "gelu_tanh"}
    m.put("in.x", m.normal(3, 7, scale=3))
    m.put("in.cotangent", m.normal(3, 7))


@expected("activation/ffn")
def ffn(case):
    kind, w, x = case.config["kind"], case.weights(), case["in.x"]
    names = {"x": "in.x", **{n: "weight." + n for n in w}}
    if kind in GATED:
        hidden = GATED[kind](x @ w["gate.weight"].T) * (x @ w["up.weight"].T)
        return with_gradients(case, hidden @ w["down.weight"].T, names)
    hidden = ACTIVATIONS[kind](x @ w["ff_proj.weight"].T)
    return {"out.hidden": hidden, **with_gradients(case, hidden @ w["ff_out.weight"].T, names)}


def make_ffn(m, kind):
    D, H = 5, 7
    m.config = {"d_model": D, "ffn": H, "kind": kind}
    first = ("gate", "up") if kind in GATED else ("ff_proj",)
    for name in first:
        m.put(f"weight.{name}.weight", m.normal(H, D, scale=D**-0.5))
    m.put(f"weight.{'down' if kind in GATED else 'ff_out'}.weight", m.normal(D, H, scale=H**-0.5))
    m.inputs(x=(3, 2, D), cotangent=(3, 2, D))


makes("activation/ffn", "ffn_silu_b")(lambda m: make_ffn(m, "silu"))
makes("activation/ffn", "ffn_geglu_tanh_b")(lambda m: make_ffn(m, "geglu_tanh"))


@expected("norm/layernorm_no_affine")
def layer_norm(case):
    x = case["in.x"]
    centred = x - x.mean(-1, keepdim=True)
    y = centred / (centred.square().mean(-1, keepdim=True) + case.config["eps"]).sqrt()
    return with_gradients(case, y, {"x": "in.x"})


@makes("norm/layernorm_no_affine", "layernorm_no_affine_b")
def make_norm(m):
    m.config = {"axis": "last", "eps": 1e-3, "kind": "layer", "one_plus_weight": False}
    m.put("in.x", m.normal(2, 3, 10, scale=0.1) + 2)
    m.put("in.cotangent", m.normal(2, 3, 10))


@expected("experts/smoe_dropout_layer")
def smoe_dropout(case):
    w, x, out, loss = case.weights(), case["in.x"], {}, 0
    logits = x @ w["gate.weight"].T + w["gate.bias"]
    every = torch.relu(torch.einsum("td,ehd->teh", x, w["w1"]) + w["b1"])
    every = torch.einsum("teh,edh->ted", every, w["w2"]) + w["b2"]
    for k in case.config["ks"]:
        weight = logits.masked_fill(~case.top_mask(logits, k), -torch.inf).softmax(-1)
        y = (weight[..., None] * every).sum(1)
        out[f"out.weight_k{k}"], out[f"out.y_k{k}"] = weight, y
        loss = loss + (y * case[f"in.cotangent_y_k{k}"]).sum()
    grads = case.gradients(loss, {"x": "in.x", **{n: "weight." + n for n in ("w1", "b1", "w2", "b2")}})
    return {**out, **{"grad." + n: g for n, g in grads.items()}}


@makes("experts/smoe_dropout_layer", "smoe_dropout_layer_b")
def make_smoe(m):
    D, E, T, H = 4, 5, 7, 3
    m.config = {"D": D, "E": E, "T": T, "hidden": H, "ks": [3, 5], "frozen": "gate.*"}
    for name, shape in (("gate.weight", (E, D)), ("gate.bias", (E,)), ("w1", (E, H, D)), ("b1", (E, H)),
                        ("w2", (E, D, H)), ("b2", (E, D))):
        m.put("weight." + name, m.normal(*shape))
    m.inputs(x=(T, D), cotangent_y_k3=(T, D), cotangent_y_k5=(T, D))

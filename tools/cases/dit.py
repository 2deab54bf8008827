"""DiT and SiT, their embeddings and patches."""

import math

import torch

from .common import expected, gelu_tanh, linear, makes, silu


def time_code(t, width, period=10000):
    half = width // 2
    frequencies = torch.exp(-math.log(period) * torch.arange(half, dtype=torch.float64) / half)
    angles = t.double()[:, None] * frequencies
    code = torch.cat([angles.cos(), angles.sin()], 1)
    return torch.cat([code, torch.zeros(len(t), 1)], 1) if width % 2 else code


def position_table(width, side):
    def one(places):
        omega = 1 / 10000 ** (torch.arange(width // 4, dtype=torch.float64) / (width / 4))
        angles = places.reshape(-1, 1).double() * omega
        return torch.cat([angles.sin(), angles.cos()], 1)

    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.cat([one(columns), one(rows)], 1)


def patches_of(x, p):
    """[B, C, H, W] -> [B, L, C p p], the channel slowest."""
    B, C, H, W = x.shape
    return x.reshape(B, C, H // p, p, W // p, p).permute(0, 2, 4, 1, 3, 5).reshape(B, -1, C * p * p)


def image_of(tokens, p):
    """[B, L, p p C] -> [B, C, side, side], the channel fastest."""
    B, L, width = tokens.shape
    side, C = math.isqrt(L), width // (p * p)
    return tokens.reshape(B, side, side, p, p, C).permute(0, 5, 1, 3, 2, 4).reshape(B, C, side * p, side * p)


def tokens_of(image, p):
    """The inverse of image_of."""
    B, C, H, W = image.shape
    return image.reshape(B, C, H // p, p, W // p, p).permute(0, 2, 4, 3, 5, 1).reshape(B, -1, p * p * C)


def layer_norm(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def modulate(x, shift, scale):
    return x * (1 + scale[:, None]) + shift[:, None]


def attention(x, w, name, heads, scale_heads=None):
    B, L, D = x.shape
    q, k, v = linear(x, w, name + "qkv").reshape(B, L, 3, heads, D // heads).permute(2, 0, 3, 1, 4)
    y = ((q @ k.transpose(-1, -2)) * (D // heads) ** -0.5).softmax(-1) @ v
    y = y.transpose(1, 2)
    if scale_heads is not None:
        y = y * scale_heads[..., None]
    return linear(y.reshape(B, L, D), w, name + "proj")


def mlp(x, w, name):
    return linear(gelu_tanh(linear(x, w, name + "fc1")), w, name + "fc2")


def dit_forward(w, config, x, t, y, feed_forward=None):
    """All that is stored of a forward: feed_forward(i, h) stands for the MLP of block i."""
    heads, p, out = config["num_heads"], config["patch_size"], {}
    out["x_embed"] = patches_of(x, p) @ w["x_embedder.proj.weight"].flatten(1).T + w["x_embedder.proj.bias"]
    h = out["x_embed"] + w["pos_embed"]
    out["t_freq"] = time_code(t, 256)
    out["t_embed"] = linear(silu(linear(out["t_freq"], w, "t_embedder.mlp.0")), w, "t_embedder.mlp.2")
    out["y_embed"] = w["y_embedder.embedding_table.weight"][y]
    c = out["c"] = out["t_embed"] + out["y_embed"]
    for i in range(config["depth"]):
        block = f"blocks.{i}."
        ada = linear(silu(c), w, block + "adaLN_modulation.1")
        shift1, scale1, gate1, shift2, scale2, gate2 = ada.chunk(6, 1)
        attended = attention(modulate(layer_norm(h), shift1, scale1), w, block + "attn.", heads)
        h = h + gate1[:, None] * attended
        inside = modulate(layer_norm(h), shift2, scale2)
        fed = mlp(inside, w, block + "mlp.") if feed_forward is None else feed_forward(i, inside)
        h = h + gate2[:, None] * fed
        out[f"block.{i}"] = h
        out[f"block{i}.adaln"], out[f"block{i}.attn"], out[f"block{i}.mlp"] = ada, attended, fed
        out[f"block{i}.inside"] = inside
    shift, scale = linear(silu(c), w, "final_layer.adaLN_modulation.1").chunk(2, 1)
    out["final_tokens"] = linear(modulate(layer_norm(h), shift, scale), w, "final_layer.linear")
    out["output"] = image_of(out["final_tokens"], p)
    if config.get("kind") == "SiT" and config["learn_sigma"]:
        out["output"] = out["output"].chunk(2, 1)[0]
    return out


def make_dit_weights(m, config, mlp_ratio=4, dense=None):
    """Random weights; `dense` tells whether block i has a plain MLP."""
    D, p, C = config["hidden_size"], config["patch_size"], config["in_channels"]
    outputs = p * p * C * (2 if config["learn_sigma"] else 1)
    shapes = {"x_embedder.proj": (D, C, p, p), "t_embedder.mlp.0": (D, 256), "t_embedder.mlp.2": (D, D),
              "final_layer.linear": (outputs, D), "final_layer.adaLN_modulation.1": (2 * D, D)}
    for i in range(config["depth"]):
        shapes.update({f"blocks.{i}.attn.qkv": (3 * D, D), f"blocks.{i}.attn.proj": (D, D),
                       f"blocks.{i}.adaLN_modulation.1": (6 * D, D)})
        if dense is None or dense(i):
            hidden = int(mlp_ratio * D)
            shapes.update({f"blocks.{i}.mlp.fc1": (hidden, D), f"blocks.{i}.mlp.fc2": (D, hidden)})
    for name, shape in shapes.items():
        m.put(f"weight.{name}.weight", m.normal(*shape, scale=0.7 * math.prod(shape[1:]) ** -0.5))
        m.put(f"weight.{name}.bias", m.normal(shape[0], scale=0.2))
    rows = config["num_classes"] + (config.get("class_dropout_prob", 1) > 0)
    m.put("weight.y_embedder.embedding_table.weight", m.normal(rows, D, scale=0.5))
    m.put("weight.pos_embed", position_table(D, config["input_size"] // p)[None])


def parameter_names(case):
    return {n.removeprefix("weight."): n for n in case.stored
            if n.startswith("weight.") and n != "weight.pos_embed" and not n.endswith(("threshold", "ema_decay"))}


@expected("dit/dit")
def dit(case):
    got = dit_forward(case.weights(), case.config, case["in.x"], case["in.t"], case["in.y"])
    loss = (got["output"] * case["in.cotangent"]).sum()
    keep = ("x_embed", "t_freq", "t_embed", "y_embed", "c", "final_tokens", "output", "block0.adaln", "block0.attn",
            "block0.mlp")
    out = {"out." + n: v for n, v in got.items() if n in keep or n.startswith("block.")}
    out["out.loss"] = loss
    grads = case.gradients(loss, {"x": "in.x", **parameter_names(case)})
    return {**out, **{"grad." + n: g for n, g in grads.items()}}


def make_dit(m, kind, side, p, C, D, depth, heads, classes, sigma, ratio, B):
    m.config = {"input_size": side, "patch_size": p, "in_channels": C, "hidden_size": D, "depth": depth,
                "num_heads": heads, "class_dropout_prob": 0.3, "num_classes": classes, "learn_sigma": sigma,
                "kind": kind, "frequency_embedding_size": 256, "mlp_ratio": ratio, "ln_eps": 1e-6, "eval": True,
                "loss": "sum(out.output * in.cotangent)"}
    make_dit_weights(m, m.config, ratio)
    outputs = C * (2 if sigma and kind == "DiT" else 1)
    m.inputs(x=(B, C, side, side), cotangent=(B, outputs, side, side))
    m.put("in.t", m.uniform(B) if kind == "SiT" else m.integers(1000, B))
    m.put("in.y", torch.cat([m.integers(classes, B - 1), torch.tensor([classes])]))


@makes("dit/dit", "dit_p3")
def make_p3(m):
    make_dit(m, "DiT", 6, 3, 2, 8, 1, 2, 3, True, 2.0, 2)


@makes("dit/dit", "sit_p1", large=True)
def make_sit(m):
    make_dit(m, "SiT", 3, 1, 2, 12, 2, 3, 4, False, 1.5, 3)


@expected("dit/dit_cfg")
def dit_cfg(case):
    c, x, y = case.config, case["in.x"], case["in.y"]
    half, scale = len(y) // 2, case["in.cfg_scale"] if "in.cfg_scale" in case else c["cfg_scale"]
    output = dit_forward(case.weights(), c, torch.cat([x[:half], x[:half]]), case["in.t"], y)["output"]
    out = {"out.plain": output}
    for name, n in (("cfg_first3_channels", 3), ("cfg_all_channels", c["in_channels"])):
        guided = output[half:, :n] + scale * (output[:half, :n] - output[half:, :n])
        out["out." + name] = torch.cat([torch.cat([guided, guided]), output[:, n:]], 1)
    return out


def make_cfg(m, kind):
    m.config = {"input_size": 6, "patch_size": 3, "in_channels": 5, "hidden_size": 8, "depth": 1, "num_heads": 2,
                "class_dropout_prob": 0.2, "num_classes": 3, "learn_sigma": True, "kind": kind, "cfg_scale": 2.25,
                "frequency_embedding_size": 256}
    make_dit_weights(m, m.config)
    m.inputs(x=(6, 5, 6, 6))
    t = m.uniform(3) if kind == "SiT" else m.integers(1000, 3)
    m.put("in.t", torch.cat([t, t]))
    m.put("in.y", [0, 2, 1, 3, 3, 3])
    m.put("in.cfg_scale", torch.tensor([2.25]))


makes("dit/dit_cfg", "dit_cfg_b", large=True)(lambda m: make_cfg(m, "DiT"))
makes("dit/dit_cfg", "sit_cfg_b")(lambda m: make_cfg(m, "SiT"))


@expected("dit/pos_embed_2d")
def pos_embed_2d(case):
    out = {}
    for width, side in case.config["pairs"]:
        out[f"out.pos.{width}.{side}"] = position_table(width, side)
    for name in case.names:
        if name.startswith("out.pos_cls."):
            width, side = map(int, name.split(".")[-2:])
            out[name] = torch.cat([torch.zeros(1, width), position_table(width, side)])
    return out


@makes("dit/pos_embed_2d", "pos_embed_2d_b")
def make_pos(m):
    m.config = {"pairs": [[8, 6], [20, 2]], "name": "out.pos.<width>.<grid side>", "max_period": 10000,
                "extra_tokens": 0}
    m.put("in.pairs", m.config["pairs"])


@expected("dit/timestep_embed")
def timestep_embed(case):
    out = {f"out.{kind}.{width}": time_code(case["in.t_" + kind], width)
           for kind in ("int", "float") for width in case.config["dims"]}
    for name in case.names:
        if name.startswith("out.period"):
            period, width = name.removeprefix("out.period").split(".")
            out[name] = time_code(case["in.t_int"], int(width), int(period))
    return out


@makes("dit/timestep_embed", "timestep_embed_b")
def make_time(m):
    m.config = {"dims": [12, 7], "max_period": 10000, "order": "cos first", "odd": "one zero column appended"}
    m.put("in.t_int", [0, 5, 998])
    m.put("in.t_float", 400 * m.uniform(4))


@expected("dit/label_embed")
def label_embed(case):
    table, y = case["weight.embedding_table.weight"], case["in.y"]
    dropped = torch.where(case["in.force_drop_ids"] == 1, case.config["num_classes"], y)
    return {"out.embed": table[y], "out.embed_dropped": table[dropped], "out.labels_after_drop": dropped}


@makes("dit/label_embed", "label_embed_b")
def make_label(m):
    m.config = {"num_classes": 4, "hidden_size": 6, "dropout_prob": 0.5}
    m.put("weight.embedding_table.weight", m.normal(5, 6))
    m.put("in.y", [3, 0, 1, 2, 4])
    m.put("in.force_drop_ids", [0, 1, 0, 1, 0])


@expected("dit/patchify")
def patchify(case):
    p, w = case.config["patch_size"], case["weight.x_embedder.proj.weight"]
    inside = patches_of(case["in.x"], p)
    return {"out.image": image_of(case["in.tokens"], p), "out.x_patches": inside,
            "out.x_embed": inside @ w.flatten(1).T + case["weight.x_embedder.proj.bias"]}


@makes("dit/patchify", "patchify_b")
def make_patchify(m):
    p, grid, C = 3, 2, 2
    m.config = {"patch_size": p, "out_channels": 4, "in_channels": C, "grid": grid}
    m.inputs(tokens=(3, grid * grid, p * p * 4), x=(3, C, p * grid, p * grid))
    m.put("weight.x_embedder.proj.weight", m.normal(8, C, p, p, scale=0.3))
    m.put("weight.x_embedder.proj.bias", m.normal(8))


@expected("dit/param_counts")
def param_counts(case):
    total, trainable = [], []
    for row in case["in.rows"].tolist():
        r = dict(zip(case.config["columns"], row))
        D, p, C = r["hidden"], r["patch"], r["in_channels"]
        outputs = p * p * C * (2 if r["learn_sigma"] else 1)
        embed = (C * p * p + 1) * D + (256 + 1) * D + (D + 1) * D
        embed += (r["num_classes"] + (case.config["class_dropout_prob"] > 0)) * D
        block = (D + 1) * 3 * D + (D + 1) * D + (D + 1) * 4 * D + (4 * D + 1) * D + (D + 1) * 6 * D
        trainable.append(embed + r["depth"] * block + (D + 1) * outputs + (D + 1) * 2 * D)
        total.append(trainable[-1] + (r["input"] // p) ** 2 * D)
    return {"out.total": torch.tensor(total), "out.trainable": torch.tensor(trainable)}


@makes("dit/param_counts", "param_counts_b")
def make_counts(m):
    m.config = {"columns": ["num_classes", "depth", "hidden", "heads", "patch", "input", "in_channels", "learn_sigma"],
                "class_dropout_prob": 0.0}
    m.put("in.rows", [[7, 3, 48, 6, 2, 8, 3, 0], [100, 11, 320, 5, 4, 32, 4, 1]])

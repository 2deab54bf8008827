"""Whole tiny models with their training losses: RaceDiT, DiT-MoE and DiffMoE."""

import torch

from .common import expected, makes, per_sample
from .dit import dit_forward, make_dit_weights, tokens_of
from .moe import (diffmoe_layer, dit_moe_layer, make_diffmoe_weights, make_dit_moe_weights, make_race_weights,
                  race_layer, similarity, trainable)


def sizes(c):
    """The config of a RaceDiT in the names of a DiT's."""
    return {"num_heads": c["heads"], "patch_size": c["patch"], "depth": c["depth"], "learn_sigma": c["learn_sigma"],
            "hidden_size": c["D"], "in_channels": c["channels"], "num_classes": c["classes"], "input_size": c["image"]}


@expected("moe/racedit")
def racedit(case):
    c, w, x = case.config, case.weights(), case["in.x"]
    layers = []

    def sparse(i, h):
        layers.append(race_layer(case, w, f"blocks.{i}.moe.", h, c["k"], c["gate"]))
        return layers[-1]["y"]

    got = dit_forward(w, sizes(c), x, case["in.t"], case["in.y"], sparse)
    target, out = case["in.target"], {}
    tokens = tokens_of(target, c["patch"])
    mse = (got["output"][:, : c["channels"]] - target).square().mean()
    plr = sum((l["head"] - tokens).square().mean() for l in layers)
    plr = plr / len(layers) if c["plr_reduction"] == "mean" else plr
    rsls = [similarity(l["logits"], l["mask"])[0] for l in layers]
    loss = mse + c["lambda_plr"] * plr + c["lambda_rsl"] * sum(rsls)
    for i, layer in enumerate(layers):
        tau, m = w[f"blocks.{i}.moe.router.threshold"], c["threshold_momentum"]
        kappa = layer["kappa"].reshape([])
        values = {"logits": layer["logits"], "mask": layer["mask"], "kappa": kappa, "rsl": rsls[i],
                  "moe_input": got[f"block{i}.inside"], "moe_output": layer["y"],
                  "threshold": m * tau + (1 - m) * kappa}
        out.update({f"out.blocks.{i}.{n}": v for n, v in values.items()})

    inferred = []

    def by_threshold(i, h):
        inferred.append(race_layer(case, w, f"blocks.{i}.moe.", h, c["k"], c["gate"],
                                   mask=lambda s: case.above(s, c["infer_thresholds"][i])))
        return inferred[-1]["y"]

    out["out.infer.output"] = dit_forward(w, sizes(c), x, case["in.t"], case["in.y"], by_threshold)["output"]
    out.update({f"out.infer.blocks.{i}.mask": l["mask"] for i, l in enumerate(inferred)})
    out.update({"out.output": got["output"], "out.mse": mse, "out.plr": plr, "out.rsl": sum(rsls), "out.loss": loss})
    grads = case.gradients(loss, {"x": "in.x", **trainable(case)})
    return {**out, **{"grad." + n: g for n, g in grads.items()}}


def make_racedit(m, objective, reduction, B, side, p, C, D, heads, depth, E, k, hidden, classes, sigma, thresholds):
    m.config = {"B": B, "D": D, "E": E, "channels": C, "classes": classes, "depth": depth, "heads": heads,
                "hidden": hidden, "image": side, "patch": p, "k": k, "learn_sigma": sigma, "objective": objective,
                "plr_reduction": reduction, "lambda_plr": 0.03, "lambda_rsl": 0.002, "threshold_momentum": 0.95,
                "infer_thresholds": thresholds, "gate": "identity", "router_activation": "gelu_tanh",
                "expert_activation": "gelu_tanh"}
    make_dit_weights(m, sizes(m.config), dense=lambda i: False)
    for i in range(depth):
        make_race_weights(m, f"blocks.{i}.moe.", D, E, hidden, p * p * C)
    m.inputs(x=(B, C, side, side), target=(B, C, side, side))
    m.put("in.t", m.uniform(B) if objective == "velocity" else m.integers(1000, B).double())
    m.put("in.y", torch.cat([m.integers(classes, B - 1), torch.tensor([classes])]))


@makes("moe/racedit", "racedit_eps_three", large=True)
def make_racedit_eps(m):
    make_racedit(m, "eps", "mean", 2, 4, 2, 3, 8, 2, 3, 3, 1.5, 6, 4, False, [0.2, -0.3, 0.1])


@makes("moe/racedit", "racedit_velocity_b")
def make_racedit_velocity(m):
    make_racedit(m, "velocity", "sum", 3, 6, 3, 2, 8, 2, 1, 5, 2, 7, 3, True, [0.4])


@expected("moe/dit_moe_model")
def dit_moe_model(case):
    c, w, x, noise = case.config, case.weights(), case["in.x"], case["in.noise"]
    t = torch.sigmoid(case["in.t_normal"])
    column, losses = per_sample(t, x), []
    x_t = (1 - column) * x + column * noise

    def sparse(i, h):
        y, _, _, aux = dit_moe_layer(case, w, f"blocks.{i}.moe.", h, c["num_experts"], c["num_experts_per_tok"],
                                     c["aux_alpha"])
        losses.append(aux)
        return y

    output = dit_forward(w, c, x_t, t, case["in.y"], sparse)["output"]
    mse = (output[:, : c["in_channels"]] - (noise - x)).square().mean()
    loss = mse + sum(losses)
    grads = case.gradients(loss, {"x": "in.x", **trainable(case)})
    return {"out.output": output, "out.mse": mse, "out.loss": loss, "out.aux_loss": torch.stack(losses), "out.t": t,
            "out.x_t": x_t, **{"grad." + n: g for n, g in grads.items()}}


@makes("moe/dit_moe_model", "dit_moe_model_b")
def make_dit_moe_model(m):
    D, side, C, B = 8, 4, 3, 3
    m.config = {"B": B, "aux_alpha": 0.05, "depth": 2, "expert_hidden": 6, "hidden_size": D, "in_channels": C,
                "input_size": side, "label_dropout": 0, "learn_sigma": False, "mlp_ratio": 2, "num_classes": 3,
                "num_experts": 3, "num_experts_per_tok": 1, "num_heads": 4, "patch_size": 2, "shared_hidden": 5}
    make_dit_weights(m, m.config, dense=lambda i: False)
    for i in range(m.config["depth"]):
        make_dit_moe_weights(m, f"blocks.{i}.moe.", D, 3, 6, 5)
    m.inputs(x=(B, C, side, side), noise=(B, C, side, side), t_normal=(B,))
    m.put("in.y", [2, 3, 0])


@expected("moe/diffmoe_model")
def diffmoe_model(case):
    c, w, x, noise, t = case.config, case.weights(), case["in.x"], case["in.noise"], case["in.t"]
    column, layers = per_sample(t, x), []

    def feed_forward(i, h):
        from .dit import mlp

        if c["MoE"]["interleave"] and i % 2 == 0:
            return mlp(h, w, f"blocks.{i}.mlp.")
        layers.append(diffmoe_layer(case, w, f"blocks.{i}.mlp.", h, c["MoE"]["num_experts"], c["MoE"]["capacity"]))
        return layers[-1]["y"]

    output = dit_forward(w, c, column * x + (1 - column) * noise, t, case["in.y"], feed_forward)["output"]
    mse = (output - (x - noise)).square().mean()
    stack = lambda name: torch.stack([l[name] for l in layers]) if len(layers) > 1 else layers[0][name]
    capacity = c["capacity_loss_weight"] * stack("capacity_loss")
    loss = mse + capacity.sum()
    grads = case.gradients(loss, {"x": "in.x", **trainable(case)})
    return {"out.output": output, "out.mse": mse, "out.loss": loss, "out.capacity_loss": capacity,
            **{"out." + n: stack(n) for n in ("mask", "capacity_logits", "expert_threshold")},
            **{"grad." + n: g for n, g in grads.items()}}


def make_diffmoe_model(m, depth, interleave, E, weight):
    D, side, C, B = 8, 4, 2, 3
    m.config = {"B": B, "depth": depth, "hidden_size": D, "in_channels": C, "input_size": side, "label_dropout": 0,
                "MoE": {"capacity": 1, "init_MoeMLP": False, "interleave": interleave, "n_shared_experts": 0,
                        "num_experts": E},
                "capacity_loss_weight": weight, "learn_sigma": False, "mlp_ratio": 1.5, "num_classes": 3,
                "num_heads": 2, "patch_size": 2, "loss": "out.mse + sum of out.capacity_loss, its weight inside"}
    dense = lambda i: interleave and i % 2 == 0
    make_dit_weights(m, m.config, 1.5, dense)
    for i in range(depth):
        if not dense(i):
            make_diffmoe_weights(m, f"blocks.{i}.mlp.", D, E, 12, 0, 0.95)
    m.inputs(x=(B, C, side, side), noise=(B, C, side, side))
    m.put("in.t", m.uniform(B))
    m.put("in.y", [2, 3, 0])


makes("moe/diffmoe_model", "diffmoe_model_b")(lambda m: make_diffmoe_model(m, 2, True, 3, 0.5))
makes("moe/diffmoe_model", "diffmoe_model_all", large=True)(lambda m: make_diffmoe_model(m, 2, False, 2, 1))

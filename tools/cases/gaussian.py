"""Discrete Gaussian diffusion in the settings of the DiT code (Ho et al., Nichol & Dhariwal, DDIM)."""

import math

import torch

from .common import expected, makes, mean_flat, per_sample
from .dit import dit_forward, make_dit_weights


def betas_of(schedule, T):
    if schedule == "linear":
        return torch.linspace(1000 / T * 1e-4, 1000 / T * 0.02, T, dtype=torch.float64)
    bar = lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return torch.tensor([min(1 - bar((i + 1) / T) / bar(i / T), 0.999) for i in range(T)], dtype=torch.float64)


def kept_steps(T, spec):
    if spec == "":
        return list(range(T))
    if spec.startswith("ddim"):
        wanted = int(spec[4:])
        return next(list(range(0, T, s)) for s in range(1, T) if len(range(0, T, s)) == wanted)
    sections = [int(part) for part in spec.split(",")]
    kept, start = [], 0
    for i, count in enumerate(sections):
        size = T // len(sections) + (i < T % len(sections))
        stride, at = (1 if count <= 1 else (size - 1) / (count - 1)), 0.0
        for _ in range(count):
            kept.append(start + round(at))
            at += stride
        start += size
    return sorted(set(kept))


class Process:
    def __init__(self, schedule, T, respacing=""):
        bars = torch.cumprod(1 - betas_of(schedule, T), 0)
        self.map = kept_steps(T, respacing)
        last, betas = 1.0, []
        for i in self.map:
            betas.append(1 - bars[i] / last)
            last = bars[i]
        self.betas = b = torch.stack(betas)
        one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        self.bars = a = torch.cumprod(1 - b, 0)
        self.bars_prev, self.bars_next = torch.cat([one, a[:-1]]), torch.cat([a[1:], zero])
        self.post_var = b * (1 - self.bars_prev) / (1 - a)
        clipped = torch.cat([self.post_var[1:2], self.post_var[1:]]) if len(b) > 1 else b
        self.post_log_var = clipped.log()
        self.coef1 = b * self.bars_prev.sqrt() / (1 - a)
        self.coef2 = (1 - self.bars_prev) * (1 - b).sqrt() / (1 - a)
        self.large_var = torch.cat([self.post_var[1:2], b[1:]])
        self.tables = {
            "betas": b, "alphas_cumprod": a, "alphas_cumprod_prev": self.bars_prev,
            "alphas_cumprod_next": self.bars_next, "sqrt_alphas_cumprod": a.sqrt(),
            "sqrt_one_minus_alphas_cumprod": (1 - a).sqrt(), "log_one_minus_alphas_cumprod": (1 - a).log(),
            "sqrt_recip_alphas_cumprod": (1 / a).sqrt(), "sqrt_recipm1_alphas_cumprod": (1 / a - 1).sqrt(),
            "posterior_variance": self.post_var, "posterior_log_variance_clipped": self.post_log_var,
            "posterior_mean_coef1": self.coef1, "posterior_mean_coef2": self.coef2}

    def q_sample(self, x0, t, noise):
        a = per_sample(self.bars[t], x0)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise

    def x0_from_eps(self, x, t, eps):
        a = per_sample(self.bars[t], x)
        return (1 / a).sqrt() * x - (1 / a - 1).sqrt() * eps

    def eps_from_x0(self, x, t, x0):
        a = per_sample(self.bars[t], x)
        return ((1 / a).sqrt() * x - x0) / (1 / a - 1).sqrt()

    def posterior_mean(self, x0, x, t):
        return per_sample(self.coef1[t], x) * x0 + per_sample(self.coef2[t], x) * x

    def predict(self, output, x, t, variance, predicts_x0, clip):
        """Mean, variance, log variance and x_0 that a network output stands for."""
        C = x.shape[1]
        if variance == "learned":
            low, high = per_sample(self.post_log_var[t], x), per_sample(self.betas.log()[t], x)
            part = (output[:, C:] + 1) / 2
            log_var = part * high + (1 - part) * low
            var = log_var.exp()
        else:
            large = variance == "fixed_large"
            var = per_sample((self.large_var if large else self.post_var)[t], x)
            log_var = per_sample((self.large_var.log() if large else self.post_log_var)[t], x)
        image = output[:, :C]
        x0 = image if predicts_x0 else self.x0_from_eps(x, t, image)
        if clip:
            x0 = x0.clamp(-1, 1)
        return self.posterior_mean(x0, x, t), var, log_var, x0

    def bound(self, output, x0, x, t, variance, predicts_x0):
        """The variational bound's term in bits."""
        mean, _, log_var, _ = self.predict(output, x, t, variance, predicts_x0, False)
        true_mean, true_log_var = self.posterior_mean(x0, x, t), per_sample(self.post_log_var[t], x)
        kl = 0.5 * (-1 + log_var - true_log_var + (true_log_var - log_var).exp()
                    + (true_mean - mean) ** 2 * (-log_var).exp())
        cdf = lambda v: 0.5 * (1 + torch.tanh((2 / math.pi) ** 0.5 * (v + 0.044715 * v**3)))
        scale = (-0.5 * log_var).exp()
        above, below = cdf(scale * (x0 - mean + 1 / 255)), cdf(scale * (x0 - mean - 1 / 255))
        log = lambda v: v.clamp(min=1e-12).log()
        inside = torch.where(x0 > 0.999, log(1 - below), log(above - below))
        nll = -torch.where(x0 < -0.999, log(above), inside)
        return torch.where(t == 0, mean_flat(nll), mean_flat(kl)) / math.log(2)


def process_of(config):
    return Process(config["schedule"], config["T"], config.get("respacing", ""))


def network(case):
    """The tiny network of the sampler cases at every pixel."""
    w, scale = case.weights(), case.config["time_scale"]

    def call(x, t, y):
        hidden = x.permute(0, 2, 3, 1) @ w["A"].T + (t.double() * scale)[:, None, None, None] * w["omega"]
        out = torch.tanh(hidden + w["E"][y][:, None, None]) @ w["B"].T + w["bias"]
        out = out.permute(0, 3, 1, 2)
        if "c_skip" in w:
            C = x.shape[1]
            image = per_sample(w["c_skip"][t], x) * x + per_sample(w["c_out"][t], x) * out[:, :C]
            out = torch.cat([image, out[:, C:]], 1)
        return out

    return call


def make_network(m, channels, outputs, hidden, classes, scale=0.6):
    m.put("weight.A", m.normal(hidden, channels, scale=scale))
    m.put("weight.B", m.normal(outputs, hidden, scale=scale))
    m.put("weight.E", m.normal(classes, hidden, scale=scale))
    m.put("weight.bias", m.normal(outputs, scale=0.3))
    m.put("weight.omega", m.normal(hidden))


NETWORK = ("tiny network at every pixel: h = tanh(weight.A x + weight.omega * (t * time_scale) + weight.E[y]), "
           "output = weight.B h + weight.bias")
SKIP = "; the first C output channels o become eps = weight.c_skip[t] x + weight.c_out[t] o, t the original time index"


@expected("diffusion/ddpm_tables")
def ddpm_tables(case):
    out = {}
    for process in case.config["processes"]:
        p, key = Process(case.config["schedule"], case.config["T"], process["respacing"]), process["key"]
        assert len(p.map) == process["steps"]
        out[f"out.{key}.timestep_map"] = torch.tensor(p.map)
        for name, table in p.tables.items():
            out[f"out.{key}.{name}"] = table[case[f"in.{key}.index"]]
    return out


@makes("diffusion/ddpm_tables", "ddpm_tables_short_cosine")
def make_tables(m):
    T, out = 60, []
    for key, spec in (("full", ""), ("7", "7"), ("ddim12", "ddim12"), ("sections", "4,6,3")):
        steps = len(kept_steps(T, spec))
        out.append({"key": key, "respacing": spec, "steps": steps})
        m.put(f"in.{key}.index", torch.arange(0, steps, max(1, steps // 9)))
    m.config = {"schedule": "squaredcos_cap_v2", "T": T, "beta_start": 1e-4, "beta_end": 0.02, "max_beta": 0.999,
                "processes": out}


@expected("diffusion/ddpm_betas")
def ddpm_betas(case):
    names = case.config.get("of") or sorted(n[4:] for n in case.names if n.startswith("out."))
    return {"out." + n: betas_of(n.rsplit(".", 1)[0], int(n.rsplit(".", 1)[1])) for n in names}


@makes("diffusion/ddpm_betas", "ddpm_betas_more_T")
def make_betas(m):
    m.config = {"name": "out.<schedule>.<T>", "of": ["linear.40", "squaredcos_cap_v2.7", "linear.77"]}


@expected("diffusion/space_timesteps")
def space_timesteps(case):
    return {f"out.{i}": torch.tensor(kept_steps(T, spec)) for i, (T, spec) in enumerate(case.config["cases"])}


@makes("diffusion/space_timesteps", "space_timesteps_more")
def make_space(m):
    m.config = {"cases": [[50, "6"], [50, "3,3"], [37, "9"], [64, "ddim16"], [10, ""], [21, "1,2,3"]],
                "name": "out.<index in cases>", "rounding": "half to even"}


@expected("diffusion/q_sample")
def q_sample(case):
    p, x0, t = process_of(case.config), case["in.x0"], case["in.t"]
    x, a = p.q_sample(x0, t, case["in.noise"]), p.bars[t]
    return {"out.x_t": x, "out.q_mean": per_sample(a.sqrt(), x0) * x0, "out.q_variance": 1 - a,
            "out.q_log_variance": (1 - a).log(), "out.posterior_mean": p.posterior_mean(x0, x, t),
            "out.posterior_variance": p.post_var[t], "out.posterior_log_variance": p.post_log_var[t]}


@makes("diffusion/q_sample", "q_sample_cosine")
def make_q(m):
    m.config = {"schedule": "squaredcos_cap_v2", "T": 120}
    m.inputs(x0=(4, 3, 2, 5), noise=(4, 3, 2, 5))
    m.put("in.t", [0, 1, 66, 110])


@expected("diffusion/eps_x0_conversion")
def eps_x0(case):
    p, x, t = process_of(case.config), case["in.x_t"], case["in.t"]
    return {"out.x0_from_eps": p.x0_from_eps(x, t, case["in.noise"]),
            "out.eps_from_x0": p.eps_from_x0(x, t, case["in.x0"])}


@makes("diffusion/eps_x0_conversion", "eps_x0_conversion_short")
def make_eps(m):
    m.config = {"schedule": "linear", "T": 250}
    m.inputs(x0=(3, 2, 3, 3), noise=(3, 2, 3, 3), x_t=(3, 2, 3, 3))
    m.put("in.t", [3, 90, 200])


@expected("diffusion/p_mean_variance")
def p_mean_variance(case):
    p, x, t, full = process_of(case.config), case["in.x_t"], case["in.t"], case["in.model_output"]
    out = {}
    for name in ("learned", "fixed_large", "fixed_small", "xstart_learned"):
        variance = name.removeprefix("xstart_")
        output = full if variance == "learned" else full[:, : x.shape[1]]
        for clip in (True, False):
            values = p.predict(output, x, t, variance, name.startswith("xstart"), clip)
            for key, value in zip(("mean", "variance", "log_variance", "pred_xstart"), values):
                small = variance != "learned" and "variance" in key
                out[f"out.{name}.{'clip' if clip else 'noclip'}.{key}"] = value.flatten() if small else value
    return out


@makes("diffusion/p_mean_variance", "p_mean_variance_cosine")
def make_p(m):
    m.config = {"schedule": "squaredcos_cap_v2", "T": 80}
    m.inputs(x_t=(3, 3, 2, 4), model_output=(3, 6, 2, 4))
    m.put("in.t", [0, 31, 70])


def losses(case):
    p, x0, t, noise = process_of(case.config), case["in.x0"], case["in.t"], case["in.noise"]
    x, out = p.q_sample(x0, t, noise), {}
    for name, v in case.config["variants"].items():
        variance = ("learned" if v.get("learn_sigma", True)
                    else "fixed_small" if v.get("sigma_small") else "fixed_large")
        predicts_x0 = v.get("predict_xstart", False)
        leaf = "in.model_output_xstart" if predicts_x0 else "in.model_output"
        C = x0.shape[1]
        output = case[leaf] if variance == "learned" else case[leaf][:, :C]
        if v.get("use_kl"):
            loss = p.bound(output, x0, x, t, variance, predicts_x0) * len(p.map)
        else:
            mse = mean_flat(((x0 if predicts_x0 else noise) - output[:, :C]) ** 2)
            out[f"out.{name}.mse"], loss = mse, mse
            if variance == "learned":
                frozen = torch.cat([output[:, :C].detach(), output[:, C:]], 1)
                vb = p.bound(frozen, x0, x, t, variance, predicts_x0)
                vb = vb * (len(p.map) / 1000) if v.get("rescale_learned_sigmas") else vb
                out[f"out.{name}.vb"], loss = vb, mse + vb
        out[f"out.{name}.loss"], out[f"out.{name}.loss_mean"] = loss, loss.mean()
        (g,) = torch.autograd.grad(loss.mean(), [case[leaf]])
        out[f"grad.{name}.model_output"] = g if variance == "learned" else g[:, :C]
    return out


expected("diffusion/training_losses_mse")(losses)
expected("diffusion/training_losses_kl")(losses)


def make_losses(m, schedule, T, respacing, variants, shape):
    B, C, H, W = shape
    m.config = {"schedule": schedule, "T": T, "respacing": respacing, "variants": variants,
                "loss": "mean over the batch of the per-sample loss"}
    m.inputs(x0=shape, noise=shape, model_output=(B, 2 * C, H, W))
    m.put("in.x0", (m.tensors["in.x0"] * 0.5).clamp(-1, 1))
    m.put("in.model_output", m.tensors["in.model_output"] * 0.7)
    if any(v.get("predict_xstart") for v in variants.values()):
        # As of a trained network: far from x_0 the likelihood at t = 0 is a difference of equal numbers in float32.
        close = m.tensors["in.x0"] + m.normal(B, C, H, W, scale=0.02)
        m.put("in.model_output_xstart", torch.cat([close, m.normal(B, C, H, W, scale=0.7)], 1))
    steps = len(kept_steps(T, respacing))
    m.put("in.t", [0, 1, steps // 2, steps - 1][:B])


MSE = {"learned_mse": {}, "learned_rescaled_mse": {"rescale_learned_sigmas": True}, "fixed_mse": {"learn_sigma": False},
       "xstart_learned_mse": {"predict_xstart": True}}
KL = {"learned_rescaled_kl": {"use_kl": True},
      "fixed_small_kl": {"learn_sigma": False, "sigma_small": True, "use_kl": True}}


@makes("diffusion/training_losses_mse", "training_losses_mse_cosine")
def make_mse(m):
    make_losses(m, "squaredcos_cap_v2", 150, "", MSE, (4, 3, 3, 2))


@makes("diffusion/training_losses_mse", "training_losses_mse_sections")
def make_mse_respaced(m):
    make_losses(m, "linear", 200, "5,8", {**MSE, "fixed_small_mse": {"learn_sigma": False, "sigma_small": True}},
                (3, 2, 2, 3))


@makes("diffusion/training_losses_kl", "training_losses_kl_ddim25")
def make_kl(m):
    make_losses(m, "linear", 100, "ddim25", KL, (4, 3, 3, 2))


def prediction_of(case, p, output, x, i, clip):
    t = torch.full((x.shape[0],), i)
    variance = "learned" if case.config["learn_sigma"] else "fixed_large"
    return p.predict(output, x, t, variance, case.config["predict_xstart"], clip)


@expected("diffusion/ancestral_loop")
def ancestral_loop(case):
    p, noise, y, net = process_of(case.config), case["in.noise"], case["in.y"], network(case)
    out = {"out.timestep_map": torch.tensor(p.map)}
    with torch.no_grad():
        for name, setting in case.config["settings"].items():
            x, xs, x0s = noise[0], [], []
            for k, i in enumerate(reversed(range(len(p.map)))):
                output = net(x, torch.full((len(x),), p.map[i]), y)
                mean, _, log_var, x0 = prediction_of(case, p, output, x, i, setting["clip_denoised"])
                x = mean + (0.5 * log_var).exp() * noise[1 + k] * (i > 0)
                xs.append(x)
                x0s.append(x0)
            out[f"out.{name}.x"], out[f"out.{name}.pred_xstart"] = torch.stack(xs), torch.stack(x0s)
    return out


@expected("diffusion/ddim_loop")
def ddim_loop(case):
    p, noise, y, net = process_of(case.config), case["in.noise"], case["in.y"], network(case)
    out = {"out.timestep_map": torch.tensor(p.map)}
    with torch.no_grad():
        def estimate(x, i, clip):
            output = net(x, torch.full((len(x),), p.map[i]), y)
            x0 = prediction_of(case, p, output, x, i, clip)[3]
            return x0, p.eps_from_x0(x, torch.full((len(x),), i), x0)

        for name, setting in case.config["settings"].items():
            x, xs, x0s = noise[0], [], []
            for k, i in enumerate(reversed(range(len(p.map)))):
                x0, eps = estimate(x, i, setting["clip_denoised"])
                a, before = p.bars[i], p.bars_prev[i]
                sigma = setting["eta"] * ((1 - before) / (1 - a)).sqrt() * (1 - a / before).sqrt()
                x = before.sqrt() * x0 + (1 - before - sigma**2).sqrt() * eps + sigma * noise[1 + k] * (i > 0)
                xs.append(x)
                x0s.append(x0)
            out[f"out.{name}.x"], out[f"out.{name}.pred_xstart"] = torch.stack(xs), torch.stack(x0s)
        x, xs = case["in.reverse_x0"], []
        for i in range(len(p.map) - 1):
            x0, eps = estimate(x, i, False)
            x = p.bars_next[i].sqrt() * x0 + (1 - p.bars_next[i]).sqrt() * eps
            xs.append(x)
        out["out.reverse.x"] = torch.stack(xs)
    return out


def make_loop(m, schedule, T, respacing, predicts_x0, settings, B, C, side, hidden, classes):
    steps = len(kept_steps(T, respacing))
    m.config = {"schedule": schedule, "T": T, "respacing": respacing, "learn_sigma": True,
                "predict_xstart": predicts_x0, "network": NETWORK + ("" if predicts_x0 else SKIP),
                "time_scale": 0.7 / T, "settings": settings}
    make_network(m, C, 2 * C, hidden, classes)
    if not predicts_x0:
        bars = torch.cumprod(1 - betas_of(schedule, T), 0)
        m.put("weight.c_skip", 1 / (1 - bars).sqrt())
        m.put("weight.c_out", -(bars / (1 - bars)).sqrt())
    m.inputs(noise=(1 + steps, B, C, side, side))
    m.put("in.y", m.integers(classes, B))


@makes("diffusion/ancestral_loop", "ancestral_loop_short")
def make_ancestral(m):
    make_loop(m, "linear", 300, "6", False, {"noclip": {"clip_denoised": False, "eta": None},
                                             "clip": {"clip_denoised": True, "eta": None}}, 3, 3, 2, 5, 4)


@makes("diffusion/ancestral_loop", "ancestral_loop_ddim8")
def make_ancestral_x0(m):
    make_loop(m, "squaredcos_cap_v2", 64, "ddim8", True, {"plain": {"clip_denoised": False, "eta": None}}, 2, 2, 3, 6, 3)


@makes("diffusion/ddim_loop", "ddim_loop_short")
def make_ddim(m):
    make_loop(m, "squaredcos_cap_v2", 90, "5", True, {"eta0": {"clip_denoised": False, "eta": 0.0},
                                                      "eta03_clip": {"clip_denoised": True, "eta": 0.3}}, 3, 2, 2, 5, 3)
    m.put("in.reverse_x0", m.normal(3, 2, 2, 2, scale=0.5))


@expected("diffusion/dit_guided_sampling")
def dit_guided_sampling(case):
    c = case.config
    p, noise, y, w = process_of(c), case["in.noise"], case["in.y"], case.weights()
    x, xs, half = noise[0], [], len(y) // 2
    with torch.no_grad():
        for k, i in enumerate(reversed(range(len(p.map)))):
            both = torch.cat([x[:half], x[:half]])
            output = dit_forward(w, c, both, torch.full((len(y),), p.map[i]), y)["output"]
            guided = output[half:, :3] + c["cfg_scale"] * (output[:half, :3] - output[half:, :3])
            output = torch.cat([torch.cat([guided, guided]), output[:, 3:]], 1)
            t = torch.full((len(y),), i)
            mean, _, log_var, _ = p.predict(output, x, t, "learned" if c["learn_sigma"] else "fixed_large", False,
                                            c["clip_denoised"])
            x = mean + (0.5 * log_var).exp() * noise[1 + k] * (i > 0)
            xs.append(x)
    return {"out.x": torch.stack(xs), "out.samples": x[:half], "out.timestep_map": torch.tensor(p.map)}


@makes("diffusion/dit_guided_sampling", "dit_guided_sampling_clipped")
def make_guided(m):
    m.config = {"input_size": 6, "patch_size": 3, "in_channels": 3, "hidden_size": 8, "depth": 1, "num_heads": 4,
                "num_classes": 4, "learn_sigma": True, "class_dropout_prob": 0.2, "frequency_embedding_size": 256,
                "schedule": "squaredcos_cap_v2", "T": 200, "respacing": "4", "cfg_scale": 1.5, "clip_denoised": True}
    make_dit_weights(m, m.config)
    m.inputs(noise=(5, 6, 3, 6, 6))
    m.put("in.y", [0, 3, 1, 4, 4, 4])

"""Flow matching with stochastic interpolants in the settings of the SiT code: t = 0 is noise, t = 1 is data."""

import math

import torch

from .common import expected, makes, mean_flat, per_sample
from .gaussian import NETWORK, make_network, network

CONVENTION = "t=0 is noise (x0), t=1 is data (x1); x_t = alpha(t) x1 + sigma(t) x0"


class Path:
    """alpha, sigma and their derivatives at times t."""

    def __init__(self, name, t):
        name = name.lower()
        self.t = t = t.double() if isinstance(t, torch.Tensor) else torch.tensor(t, dtype=torch.float64)
        if name == "linear":
            self.alpha, self.sigma = t, 1 - t
            self.d_alpha, self.d_sigma = torch.ones_like(t), -torch.ones_like(t)
        elif name == "gvp":
            a = t * math.pi / 2
            self.alpha, self.sigma = torch.sin(a), torch.cos(a)
            self.d_alpha, self.d_sigma = math.pi / 2 * torch.cos(a), -math.pi / 2 * torch.sin(a)
        else:
            low, high = 0.1, 20.0
            log_mean = -0.25 * (1 - t) ** 2 * (high - low) - 0.5 * (1 - t) * low
            slope = 0.5 * (1 - t) * (high - low) + 0.5 * low
            self.alpha, self.sigma = log_mean.exp(), (1 - (2 * log_mean).exp()).sqrt()
            self.d_alpha, self.d_sigma = self.alpha * slope, -(2 * log_mean).exp() * slope / self.sigma
        self.ratio = self.d_alpha / self.alpha
        self.drift_var = self.ratio * self.sigma**2 - self.sigma * self.d_sigma

    def score_from_velocity(self, v, x):
        back = per_sample(self.alpha / self.d_alpha, x)
        sigma, d_sigma = per_sample(self.sigma, x), per_sample(self.d_sigma, x)
        return (back * v - x) / (sigma**2 - back * d_sigma * sigma)

    def form(self, name, norm):
        t = self.t
        if name == "constant":
            return torch.full_like(t, norm)
        if name == "SBDM":
            return norm * self.drift_var
        if name == "sigma":
            return norm * self.sigma
        if name == "linear":
            return norm * (1 - t)
        if name == "decreasing":
            return 0.25 * (norm * torch.cos(math.pi * t) + 1) ** 2
        return norm * torch.sin(math.pi * t) ** 2


FORMS = ("constant", "SBDM", "sigma", "linear", "decreasing", "inccreasing-decreasing")


@expected("diffusion/flow_path")
def flow_path(case):
    p = Path(case.config["path"], case["in.t"])
    x, v, noise, data = case["in.x"], case["in.velocity"], case["in.x0"], case["in.x1"]
    column = lambda values: per_sample(values, x)
    back = column(p.alpha / p.d_alpha)
    out = {"alpha": p.alpha, "sigma": p.sigma, "d_alpha": p.d_alpha, "d_sigma": p.d_sigma, "drift_var": p.drift_var,
           "drift_mean": -column(p.ratio) * x, "x_t": column(p.alpha) * data + column(p.sigma) * noise,
           "u_t": column(p.d_alpha) * data + column(p.d_sigma) * noise,
           "score_from_velocity": p.score_from_velocity(v, x),
           "noise_from_velocity": (back * v - x) / (back * column(p.d_sigma) - column(p.sigma)),
           "velocity_from_score": column(p.drift_var) * v + column(p.ratio) * x}
    out.update({"diffusion." + f: p.form(f, case.config["diffusion_norm"]) for f in FORMS})
    return {"out." + name: value for name, value in out.items()}


def make_path(m, path, norm, shape):
    m.config = {"path": path, "convention": CONVENTION, "diffusion_norm": norm, "vp_sigma_min": 0.1,
                "vp_sigma_max": 20.0}
    m.put("in.t", 0.08 + 0.85 * m.uniform(shape[0]))
    m.inputs(x=shape, x0=shape, x1=shape, velocity=shape)


for name, norm, shape in (("GVP", 1.7, (5, 2, 3, 3)), ("VP", 0.4, (3, 1, 2, 4)), ("Linear", 1.1, (4, 2, 2, 2))):
    makes("diffusion/flow_path", f"flow_path_{name.lower()}_b")(
        lambda m, name=name, norm=norm, shape=shape: make_path(m, name, norm, shape))


@expected("diffusion/flow_loss")
def flow_loss(case):
    p = Path(case.config["path"], case["in.t"])
    output, noise, data, out = case["in.model_output"], case["in.x0"], case["in.x1"], {}
    weights = {"none": torch.ones_like(p.t), "velocity": (p.drift_var / p.sigma) ** 2,
               "likelihood": p.drift_var / p.sigma**2}
    column = lambda values: per_sample(values, output)
    for prediction in ("velocity", "noise", "score"):
        for weight, values in weights.items():
            if prediction == "velocity":
                if weight != "none":
                    continue
                error = output - column(p.d_alpha) * data - column(p.d_sigma) * noise
            else:
                error = output - noise if prediction == "noise" else output * column(p.sigma) + noise
            loss, name = mean_flat(column(values) * error**2), f"{prediction}_{weight}"
            out[f"out.{name}.loss"], out[f"out.{name}.loss_mean"] = loss, loss.mean()
            out[f"grad.{name}.model_output"] = torch.autograd.grad(loss.mean(), [output])[0]
    return out


@makes("diffusion/flow_loss", "flow_loss_gvp_b")
def make_loss(m):
    m.config = {"path": "GVP", "convention": CONVENTION, "name": "out.<prediction>_<loss weight>"}
    m.put("in.t", 0.1 + 0.8 * m.uniform(3))
    m.inputs(x0=(3, 2, 3, 2), x1=(3, 2, 3, 2), model_output=(3, 2, 3, 2))


@makes("diffusion/flow_loss", "flow_loss_linear_b")
def make_loss_linear(m):
    make_loss(m)
    m.config["path"] = "Linear"


@expected("diffusion/flow_intervals")
def flow_intervals(case):
    def interval(path, prediction, sde, form, training):
        vp = path == "vp"
        eps = (1e-5 if training else 1e-3) if vp else 0.0 if prediction == "velocity" else 1e-3
        last = case.config["last_step_size"] if sde else 0
        first = eps if not vp and (prediction != "velocity" or (sde and form == "SBDM")) else 0.0
        if not vp and prediction == "velocity" and not sde:
            return 0.0, 1.0
        return first, 1 - (last if sde and last != 0 else eps)

    rows = []
    for row in case.config["rows"]:
        path, prediction = row.split("/")
        form, values = "", []
        for column in case.config["columns"]:
            if "(" in column:
                form = column[column.index("(") + 1 : column.index(")")]
            both = interval(path, prediction, column.startswith("sde"), form, column.startswith("train"))
            values.append(both[column.endswith("t1")])
        rows.append(values)
    return {"out.intervals": torch.tensor(rows, dtype=torch.float64)}


@makes("diffusion/flow_intervals", "flow_intervals_b")
def make_intervals(m):
    m.config = {"rows": ["gvp/velocity", "vp/score", "linear/noise", "vp/velocity"],
                "columns": ["ode t0", "ode t1", "sde(SBDM) t0", "sde t1", "train t0", "train t1"],
                "last_step_size": 0.1}


def euler(f, x, t, h):
    return x + h * f(x, t)


def midpoint(f, x, t, h):
    return x + h * f(x + h / 2 * f(x, t), t + h / 2)


def heun2(f, x, t, h):
    k1 = f(x, t)
    return x + h / 2 * (k1 + f(x + h * k1, t + h))


def heun3(f, x, t, h):
    k1 = f(x, t)
    k3 = f(x + 2 * h / 3 * f(x + h / 3 * k1, t + h / 3), t + 2 * h / 3)
    return x + h * (k1 / 4 + 3 * k3 / 4)


def rk4(f, x, t, h):
    k1 = f(x, t)
    k2 = f(x + h * k1 / 3, t + h / 3)
    k3 = f(x + h * (k2 - k1 / 3), t + 2 * h / 3)
    return x + h / 8 * (k1 + 3 * (k2 + k3) + f(x + h * (k1 - k2 + k3), t + h))


def rk4_classic(f, x, t, h):
    k1 = f(x, t)
    k2 = f(x + h / 2 * k1, t + h / 2)
    k3 = f(x + h / 2 * k2, t + h / 2)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + f(x + h * k3, t + h))


def integrate(step, f, x, times, fine=1):
    states = [x]
    for start, end in zip(times, times[1:]):
        h = (end - start) / fine
        for i in range(fine):
            x = step(f, x, start + i * h, h)
        states.append(x)
    return torch.stack(states)


@expected("diffusion/flow_ode")
def flow_ode(case):
    net, y, n = network(case), case["in.y"], case.config["time_points"]
    f = lambda x, t: net(x, torch.full((len(x),), t, dtype=torch.float64), y)
    times = torch.linspace(0, 1, n, dtype=torch.float64).tolist()
    with torch.no_grad():
        out = {f"out.{s.__name__}.x": integrate(s, f, case["in.z"], times)
               for s in (euler, midpoint, heun2, heun3, rk4, rk4_classic)}
        out["out.euler_reverse.x"] = integrate(euler, f, case["in.z"], times[::-1])
        out["out.exact.x"] = integrate(rk4_classic, f, case["in.z"], times, 200)
    return out


def make_sampling(m, C, side, B, hidden, classes, **config):
    m.config = {**config, "network": NETWORK, "convention": CONVENTION}
    make_network(m, C, C, hidden, classes)
    m.inputs(z=(B, C, side, side))
    m.put("in.y", m.integers(classes, B))


@makes("diffusion/flow_ode", "flow_ode_b")
def make_ode(m):
    make_sampling(m, 2, 2, 3, 6, 5, path="GVP", prediction="velocity", time_scale=1.3, time_points=6)


@expected("diffusion/flow_ode_noise_score")
def flow_ode_noise_score(case):
    net, y, eps = network(case), case["in.y"], case.config["sample_eps"]
    times = torch.linspace(eps, 1 - eps, case.config["time_points"], dtype=torch.float64).tolist()
    out = {}
    for name in case.config.get("runs") or ("linear_noise", "linear_score", "gvp_noise", "gvp_score"):
        path, prediction = name.split("_")

        def f(x, t):
            p = Path(path, t)
            output = net(x, torch.full((len(x),), t, dtype=torch.float64), y)
            return p.ratio * x + p.drift_var * (-output / p.sigma if prediction == "noise" else output)

        with torch.no_grad():
            out[f"out.{name}.x"] = integrate(heun2, f, case["in.z"], times)
    return out


@makes("diffusion/flow_ode_noise_score", "flow_ode_noise_score_b")
def make_ode_noise(m):
    make_sampling(m, 2, 2, 2, 5, 3, time_scale=1.4, time_points=5, sample_eps=0.2, method="heun2",
                  runs=["gvp_score", "linear_noise", "vp_noise"], name="out.<path>_<prediction>.x")


@expected("diffusion/flow_sde")
def flow_sde(case):
    net, y, noise, c = network(case), case["in.y"], case["in.noise"], case.config
    last, n = c["last_step_size"], c["num_steps"]
    times = torch.linspace(0, 1 - last, n, dtype=torch.float64).tolist()
    norms = c.get("norms") or {"em_sigma_mean": 1, "em_linear_tweedie": 1, "em_constant_euler": 0.5,
                               "em_decreasing_mean": 1, "heun_sigma_mean": 1}
    out = {}
    for name, norm in norms.items():
        method, rest = name.split("_", 1)
        form, end = rest.rsplit("_", 1)

        def slopes(x, t):
            p = Path(c["path"], t)
            v = net(x, torch.full((len(x),), t, dtype=torch.float64), y)
            score = p.score_from_velocity(v, x)
            w = p.form(form, norm)
            return v, score, w, v + w * score

        with torch.no_grad():
            x, states = case["in.z"], []
            for k in range(n - 1):
                h = times[k + 1] - times[k]
                if method == "em":
                    _, _, w, drift = slopes(x, times[k])
                    x = x + h * drift + (2 * w * h).sqrt() * noise[k]
                else:
                    x = x + (2 * Path(c["path"], times[k]).form(form, norm) * h).sqrt() * noise[k]
                    k1 = slopes(x, times[k])[3]
                    x = x + h / 2 * (k1 + slopes(x + h * k1, times[k] + h)[3])
                states.append(x)
            v, score, _, drift = slopes(x, times[-1])
            p = Path(c["path"], times[-1])
            x = {"mean": x + last * drift, "euler": x + last * v,
                 "tweedie": x / p.alpha + p.sigma**2 / p.alpha * score}[end]
            out[f"out.{name}.x"] = torch.stack([*states, x])
    return out


@makes("diffusion/flow_sde", "flow_sde_b")
def make_sde(m):
    make_sampling(m, 2, 2, 3, 5, 4, path="GVP", prediction="velocity", time_scale=1.5, num_steps=6,
                  last_step_size=0.08,
                  norms={"em_sigma_mean": 0.7, "em_constant_euler": 0.2, "em_linear_tweedie": 0.9,
                         "em_inccreasing-decreasing_mean": 0.6, "heun_decreasing_euler": 0.5})
    m.put("in.noise", m.normal(5, 3, 2, 2, 2))


@makes("diffusion/flow_sde", "flow_sde_unsaid_norm")
def make_sde_unsaid(m):
    make_sampling(m, 2, 2, 2, 5, 4, path="Linear", prediction="velocity", time_scale=1.1, num_steps=5,
                  last_step_size=0.05)
    m.put("in.noise", m.normal(4, 2, 2, 2, 2))


@expected("diffusion/flow_reversed_convention")
def flow_reversed(case):
    net, y, c = network(case), case["in.y"], case.config
    data, noise, t = case["in.data"], case["in.noise"], torch.sigmoid(case["in.t_normal"])
    column = per_sample(t, data)
    loss = mean_flat((noise - data - net((1 - column) * data + column * noise, t, y)) ** 2)
    out, n = {"out.t": t, "out.loss_per_sample": loss, "out.loss": loss.mean()}, c["sample_steps"]
    with torch.no_grad():
        for name, scale in (("plain", None), ("guided", c["cfg_scale"])):
            x = case["in.z"]
            states = [x]
            for i in range(n, 0, -1):
                t = torch.full((len(x),), i / n, dtype=torch.float64)
                v = net(x, t, y)
                if scale is not None:
                    null = net(x, t, case["in.y_null"])
                    v = null + scale * (v - null)
                x = x - v / n
                states.append(x)
            out[f"out.{name}.x"] = torch.stack(states)
    return out


@makes("diffusion/flow_reversed_convention", "flow_reversed_convention_b")
def make_reversed(m):
    make_sampling(m, 2, 2, 3, 6, 4, time_scale=1.2, sample_steps=4, cfg_scale=1.7, t="sigmoid of a standard normal")
    m.put("in.y", [0, 2, 1])
    m.put("in.y_null", [3, 3, 3])
    m.inputs(data=(3, 2, 2, 2), noise=(3, 2, 2, 2), t_normal=(3,))

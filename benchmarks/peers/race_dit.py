"""DiT and Race-DiT written the usual PyTorch way: what gallop's training step and sampling are measured against.

One process, one line of JSON: {"images_per_second", "seconds", "peak_mib"}.

    python race_dit.py --case s2-race-2in8 --form usual --threads 2 --seconds 20
    python race_dit.py --case s2-race-2in8 --what evaluation

--form usual: default AdamW, EMA tensor by tensor, experts in a loop over their tokens, as the published scripts.
--form best: fused AdamW, EMA by foreach, matrix products at precision "medium" (oneDNN), grouped products where torch
has them. Random data in memory; forward, backward, clipping, AdamW and EMA are all in the measured step.
--what evaluation: one evaluation of the network with guidance, as a sampler makes them: the batch once with its labels
and once without, experts by threshold.
"""

import argparse
import copy
import json
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn

# name: width, blocks, heads, image side, channels, patch, batch, experts (0: dense), active
CASES = {
    "default-race": (128, 6, 4, 28, 1, 4, 64, 8, 2),
    "default-dense": (128, 6, 4, 28, 1, 4, 64, 0, 0),
    "s2-race-2in8": (384, 12, 6, 32, 4, 2, 8, 8, 2),
    "s2-race-4in32": (384, 12, 6, 32, 4, 2, 8, 32, 4),
    "s2-dense": (384, 12, 6, 32, 4, 2, 8, 0, 0),
}


def modulate(x, shift, scale):
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        B, L, D = x.shape
        q, k, v = self.qkv(x).reshape(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(B, L, D))


class DenseMlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh")), None


class RaceMoe(nn.Module):
    """Identity gate, top-K over the whole batch, router similarity loss and per-layer head."""

    def __init__(self, width, hidden, experts, active, target, grouped):
        super().__init__()
        self.experts, self.active, self.grouped = experts, active, grouped
        self.hidden, self.gate = nn.Linear(width, width), nn.Linear(width, experts)
        self.target = nn.Linear(width, target)
        self.w1 = nn.Parameter(torch.empty(experts, width, hidden))
        self.b1 = nn.Parameter(torch.zeros(experts, hidden))
        self.w2 = nn.Parameter(torch.empty(experts, hidden, width))
        self.b2 = nn.Parameter(torch.zeros(experts, width))
        for w in (*self.w1, *self.w2):
            nn.init.xavier_uniform_(w)
        self.register_buffer("threshold", torch.zeros(()))
        self.rate = 0.01

    def forward(self, x):
        B, L, D = x.shape
        flat = x.reshape(-1, D)
        z = F.gelu(self.hidden(flat), approximate="tanh")
        logits = self.gate(z)
        if self.training:
            kept = B * L * self.active
            top = logits.detach().flatten().topk(kept)
            mask = torch.zeros(logits.numel(), dtype=torch.bool).index_fill_(0, top.indices, True).view_as(logits)
            self.threshold.lerp_(top.values[-1], self.rate)
        else:
            mask = logits > self.threshold
        y = torch.zeros_like(flat)
        if self.grouped:
            expert, token = mask.t().nonzero(as_tuple=True)
            offsets = mask.sum(0).cumsum(0).to(torch.int32)
            h = torch._grouped_mm(flat[token], self.w1, offs=offsets) + self.b1[expert]
            h = F.gelu(h, approximate="tanh")
            out = torch._grouped_mm(h, self.w2, offs=offsets) + self.b2[expert]
            y = y.index_add(0, token, out * logits[token, expert].unsqueeze(1))
        else:
            for e in range(self.experts):
                token = mask[:, e].nonzero().squeeze(1)
                h = F.gelu(torch.addmm(self.b1[e], flat[token], self.w1[e]), approximate="tanh")
                out = torch.addmm(self.b2[e], h, self.w2[e])
                y = y.index_add(0, token, out * logits[token, e].unsqueeze(1))
        if not self.training:
            return y.reshape(B, L, D), None
        p = logits.softmax(-1)
        m = mask.float()
        wanted = (m.t() @ m) / mask.shape[0]
        similarity = (wanted * (p.t() @ p)).sum() / mask.shape[0]
        return y.reshape(B, L, D), (self.target(z).reshape(B, L, -1), similarity)


class Block(nn.Module):
    def __init__(self, width, heads, mlp):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn, self.mlp = Attention(width, heads), mlp
        self.ada = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x, c):
        s1, c1, g1, s2, c2, g2 = self.ada(c).chunk(6, dim=1)
        x = x + g1.unsqueeze(1) * self.attn(modulate(self.norm(x), s1, c1))
        y, extra = self.mlp(modulate(self.norm(x), s2, c2))
        return x + g2.unsqueeze(1) * y, extra


class DiT(nn.Module):
    def __init__(self, case, grouped):
        super().__init__()
        width, blocks, heads, side, channels, patch, _, experts, active = case
        self.patch, self.tokens = patch, (side // patch) ** 2
        target = patch * patch * channels
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Parameter(torch.randn(1, self.tokens, width) * 0.02, requires_grad=False)
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(11, width)

        def mlp():
            if not experts:
                return DenseMlp(width, 4 * width)
            return RaceMoe(width, 4 * width // active, experts, active, target, grouped)

        self.blocks = nn.ModuleList(Block(width, heads, mlp()) for _ in range(blocks))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.ada = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.out = nn.Linear(width, target)

    def to_tokens(self, x):
        return F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)

    def forward(self, x, t, y):
        freqs = torch.exp(-torch.arange(128) / 128 * 9.210340371976184)
        angle = t[:, None] * 1000 * freqs
        c = self.time(torch.cat([angle.cos(), angle.sin()], 1)) + self.label(y)
        x = self.embed(x).flatten(2).transpose(1, 2) + self.position
        extras = []
        for block in self.blocks:
            x, extra = block(x, c)
            extras.append(extra)
        shift, scale = self.ada(c).chunk(2, dim=1)
        return self.out(modulate(self.norm(x), shift, scale)), extras


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--form", choices=["usual", "best"], default="usual")
    parser.add_argument("--what", choices=["step", "evaluation"], default="step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    best = args.form == "best"
    if best:
        torch.set_float32_matmul_precision("medium")
    case = CASES[args.case]
    _, _, _, side, channels, _, batch, _, _ = case
    model = DiT(case, grouped=best)
    average = copy.deepcopy(model).requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=best or None)
    x1 = torch.randn(batch, channels, side, side)
    label = torch.arange(batch) % 10

    def step():
        noise, t = torch.randn_like(x1), torch.rand(batch)
        xt = t[:, None, None, None] * noise + (1 - t[:, None, None, None]) * x1
        target = model.to_tokens(noise - x1)
        out, extras = model(xt, t, label)
        loss = F.mse_loss(out, target)
        for extra in extras:
            if extra is not None:
                loss = loss + 1e-2 * F.mse_loss(extra[0], target) + 1e-4 * extra[1]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            if best:
                torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 0.001)
            else:
                for a, p in zip(average.parameters(), model.parameters()):
                    a.mul_(0.999).add_(p, alpha=0.001)

    @torch.no_grad()
    def evaluate():
        t = torch.full((2 * batch,), 0.5)
        out, _ = model(torch.cat([x1, x1]), t, torch.cat([label, torch.full_like(label, 10)]))
        with_label, without = out.chunk(2)
        return without + 2.0 * (with_label - without)

    if args.what == "evaluation":
        for module in model.modules():  # thresholds that keep what training keeps
            module.rate = 1.0
        with torch.no_grad():
            model(torch.cat([x1, x1]), torch.full((2 * batch,), 0.5), torch.cat([label, label]))
        model.eval()
        step = evaluate

    for _ in range(2):
        step()
    times, end = [], time.perf_counter() + args.seconds
    while time.perf_counter() < end or len(times) < 3:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    times.sort()
    median = times[len(times) // 2]
    print(json.dumps({"seconds": median, "images_per_second": batch / median,
                      "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()

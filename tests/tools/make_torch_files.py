"""Makes tests/data/torch with torch.save: small files in the structure of those of facebookresearch/DiT, one with
views, one of torch before 1.6, and pickles that must be refused. The tests compare with fixed values, so torch's
Python package is needed only to make the files again.

    pip install numpy torch
    python tests/tools/make_torch_files.py
"""
import argparse
import os
from collections import OrderedDict
from pathlib import Path

import torch

FOLDER = Path(__file__).parents[1] / "data" / "torch"


class Network(torch.nn.Module):
    """Some of the names of a DiT, and a buffer."""

    def __init__(self, first):
        super().__init__()
        self.x_embedder = torch.nn.Module()
        self.x_embedder.proj = torch.nn.Conv2d(1, 2, 2)
        self.pos_embed = torch.nn.Parameter(torch.zeros(1, 4, 2), requires_grad=False)
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(2, 3) for _ in range(2))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        for tensor in self.state_dict().values():
            tensor.copy_(torch.arange(first, first + tensor.numel()).reshape(tensor.shape))
            first += 100

    def forward(self, x):
        return self.blocks[0](x).sum() + self.blocks[1](x).sum() + self.x_embedder.proj(torch.ones(1, 1, 2, 2)).sum()


class Runs:
    def __reduce__(self):
        return os.system, ("echo this must not run",)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    model, ema = Network(0), Network(1000)
    # DiT-XL-2-256x256.pt: the state_dict alone.
    torch.save(model.state_dict(), FOLDER / "plain.pt")
    # What DiT's train.py writes.
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-4, weight_decay=0)
    model(torch.ones(1, 2)).backward()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer.step()
    model.load_state_dict(kept)
    arguments = argparse.Namespace(model="DiT-XL/2", image_size=256, num_classes=1000, epochs=1400, vae="ema",
                                   global_seed=0, lr=1e-4, cfg=None, compile=False)
    training = {"model": model.state_dict(), "ema": ema.state_dict(), "opt": optimizer.state_dict(), "args": arguments}
    torch.save(training, FOLDER / "training.pt")
    torch.save(training, FOLDER / "training-protocol-4.pt", pickle_protocol=4)
    torch.save({"state_dict": dict(model.named_parameters())}, FOLDER / "parameters.pt")

    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    views = OrderedDict(whole=base, transposed=base.t(), columns=base[:, 1:3], rows=base[1:], element=base[2, 3],
                        every_second=torch.arange(7)[1::2], none=base[:0], repeated_ones=base[:1, :1],
                        half=base.half(), bfloat16=base.bfloat16(), double=base.double(), bool=base > 5,
                        int8=base.char(), uint8=base.byte(), int16=base.short(), int32=base.int())
    torch.save(views, FOLDER / "views.pt")
    torch.save({"expanded": torch.ones(1).expand(1000)}, FOLDER / "expanded.pt")
    torch.save(model.state_dict(), FOLDER / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"w": base, "x": Runs()}, FOLDER / "runs-a-program.pt")
    torch.save({"w": base, "complex": torch.zeros(2, dtype=torch.complex64)}, FOLDER / "complex.pt")
    torch.save([base], FOLDER / "list.pt")
    torch.save(base, FOLDER / "tensor.pt")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()

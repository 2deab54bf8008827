#!/usr/bin/env python3
"""How many samples of each class of Fashion-MNIST a classifier takes for what they should be.

    gallop sample RUN --labels 0,1,2,3,4,5,6,7,8,9 --count 640 --out samples.npz
    benchmarks/recognise.py samples.npz...      # with a Python that has torch and numpy; a minute and a half

The classifier is a small convolutional network, trained here on the training images for three epochs (the same every
time); the first line says how many of the test images it takes for what they are.
"""

import gzip
import pathlib
import sys

import numpy
import torch
from torch import nn

DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")
NAMES = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]


def read(name, offset):
    return numpy.frombuffer(gzip.open(DATA / name).read(), numpy.uint8, offset=offset)


def images(part):
    return torch.from_numpy(read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28).copy()).float() / 127.5 - 1


def labels(part):
    return torch.from_numpy(read(f"{part}-labels-idx1-ubyte.gz", 8).copy()).long()


def trained():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))
    x, y = images("train"), labels("train")
    epochs, batch = 3, 128
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for i in range(len(x) // batch):
            rows = order[i * batch:(i + 1) * batch]
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def line(name, right, wanted):
    shares = [right[wanted == c].float().mean().item() for c in range(10)]
    print(f"| {name} | {100 * right.float().mean().item():.1f} | " + " | ".join(f"{100 * s:.0f}" for s in shares) + " |")


@torch.no_grad()
def main():
    with torch.enable_grad():
        net = trained()
    print("| % recognised | all | " + " | ".join(NAMES) + " |")
    print("|---" * 12 + "|")
    x, y = images("t10k"), labels("t10k")
    line("test images", net(x).argmax(1) == y, y)
    for file in sys.argv[1:]:
        arrays = numpy.load(file)
        samples, wanted = torch.from_numpy(arrays["samples"]).float().clamp(-1, 1), torch.from_numpy(arrays["labels"])
        line(pathlib.Path(file).name, net(samples).argmax(1) == wanted, wanted)


if __name__ == "__main__":
    main()

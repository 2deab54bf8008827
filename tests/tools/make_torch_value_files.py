"""Makes the files in tests/data/torch/beside and some more with torch.save: weights beside values of other kinds, which
must not keep them from being read, and weights in the less usual forms of torch and numpy. The tests compare with fixed
values, so Python packages are needed only to make the files again.

    pip install numpy torch
    python tests/tools/make_torch_value_files.py
"""
import collections
import datetime
import decimal
import enum
import pathlib
import random
import types
import uuid
from pathlib import Path

import numpy
import torch

FOLDER = Path(__file__).parents[1] / "data" / "torch"


class Settings:
    """A class that no reader knows, with members and contents."""

    def __init__(self):
        self.rate, self.names = 0.1, ["a", "b"]


class Options(dict):
    """A dictionary of a class of its own."""


class Mode(enum.Enum):
    TRAIN = 1


def weights(first):
    return collections.OrderedDict(w=torch.arange(first, first + 6.0).reshape(2, 3), b=torch.arange(first, first + 2.0))


def values():
    sparse = torch.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 2))
    settings, options = Settings(), Options(lr=1)
    options.extra = "member"
    return {
        "numpy-scalar": numpy.float64(0.25),
        "numpy-array": numpy.arange(3),
        "numpy-objects": numpy.array([None, "text"], dtype=object),
        "numpy-dates": numpy.array(["2024-01-01"], dtype="datetime64[D]"),
        "path": pathlib.PurePosixPath("a/b"),
        "counter": collections.Counter("aab"),
        "defaultdict": collections.defaultdict(list, a=[1]),
        "dtype": torch.float32,
        "set": {1, 2},
        "frozenset": frozenset({"a"}),
        "slice": slice(1, 5, 2),
        "bytes": b"\x00\xffraw",
        "bytearray": bytearray(b"\x80"),
        "datetime": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "timedelta": datetime.timedelta(days=1),
        "big-integer": -2**100,
        "deque": collections.deque([1, 2], maxlen=5),
        "complex": 1 + 2j,
        "range": range(3),
        "decimal": decimal.Decimal("1.5"),
        "uuid": uuid.UUID(int=5),
        "enum": Mode.TRAIN,
        "class": Settings,
        "function": pathlib.Path.home,
        "object": settings,
        "dict-subclass": options,
        "namespace": types.SimpleNamespace(lr=0.1),
        "python-random": random.Random(0).getstate(),
        "numpy-random": numpy.random.RandomState(0),
        "module": torch.nn.Linear(1, 1),
        "optimizer": torch.optim.SGD([torch.zeros(1)], lr=0.1).state_dict(),
        "device": torch.device("cpu"),
        "size": torch.Size((1, 2)),
        "complex-tensor": torch.zeros(2, dtype=torch.complex64),
        "float8-tensor": torch.zeros(2, dtype=torch.float8_e4m3fn),
        "sparse-tensor": sparse,
        "quantized-tensor": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "meta-tensor": torch.zeros(2, device="meta"),
        "none-keys": {None: 1, (1, 2): 3},
        "storage": torch.ones(2).untyped_storage(),
    }


def main():
    (FOLDER / "beside").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    everything = {}
    for kind, value in values().items():
        torch.save({"model": weights(0), "ema": weights(100), "X": value}, FOLDER / "beside" / f"{kind}.pt")
        everything[kind] = value
    for protocol in (3, 4, 5):
        torch.save({"model": weights(0), "ema": weights(100), "X": everything},
                   FOLDER / "beside" / f"all-protocol-{protocol}.pt", pickle_protocol=protocol)
    torch.save({"model": {**weights(0), "X": Settings()}, "ema": weights(100)}, FOLDER / "object-inside.pt")

    counting = numpy.arange(6, dtype="f4").reshape(2, 3)
    arrays = {"f4": counting, "columns": numpy.asfortranarray(counting), "f2": counting.astype("f2"),
              "i8": counting.astype("i8"), "bool": counting > 2, "none": counting[:0], "scalar": numpy.float32(7),
              "tensor": torch.arange(3.0)}
    for protocol in (2, 5):
        torch.save(arrays, FOLDER / f"numpy-weights-protocol-{protocol}.pt", pickle_protocol=protocol)
    torch.save({"w": counting.astype(">f4")}, FOLDER / "numpy-big-endian.pt")
    torch.save({"w": numpy.array([None])}, FOLDER / "numpy-objects.pt")

    attributed, parameter = torch.arange(3.0), torch.nn.Parameter(torch.arange(4.0))
    attributed.source = "here"
    parameter.tag = 1
    torch.save({"attributed": attributed, "parameter": parameter, "buffer": torch.nn.Buffer(torch.arange(2.0)),
                "u16": torch.arange(3).to(torch.uint16), "u32": torch.arange(4).to(torch.uint32)[1:],
                "u64": torch.arange(5).to(torch.uint64)}, FOLDER / "other-forms.pt")
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 1)), FOLDER / "whole-module.pt")
    torch.jit.script(torch.nn.Linear(1, 1)).save(FOLDER / "script.pt")


if __name__ == "__main__":
    main()

"""Reading and writing reference cases, and what their reference implementations share.

A kind has two functions: one makes inputs (`in.*`, `weight.*`) and hyperparameters, the other computes what is
expected of them (`out.*`, `grad.*`), in float64, from the definitions. The same second function checks a case that
is there already, so that a wrong definition cannot make a wrong case.
"""

import json
import struct

import torch

DTYPES = {"F32": torch.float32, "I64": torch.int64, "F64": torch.float64}
NAMES = {torch.float32: "F32", torch.int64: "I64"}

EXPECTED = {}  # kind -> function(case) -> {name: tensor}
MAKERS = {}  # kind -> [(name of the case, function(maker), is it large?)]


def expected(kind):
    """Registers what computes the expected values of a kind."""

    def register(function):
        EXPECTED[kind] = function
        return function

    return register


def makes(kind, name, large=False):
    """Registers what makes the inputs of a case `name` of a kind."""

    def register(function):
        MAKERS.setdefault(kind, []).append((name, function, large))
        return function

    return register


def read(path):
    """Metadata and tensors of a safetensors file."""
    data = open(path, "rb").read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = bytearray(data[8 + size + begin : 8 + size + end])
        dtype = DTYPES[entry["dtype"]]
        flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"])
    return metadata, tensors


def write(path, metadata, tensors):
    header, parts, offset = {"__metadata__": metadata}, [], 0
    for name in sorted(tensors):
        tensor = tensors[name]
        flat = torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.reshape(-1))
        raw = bytes(flat.view(torch.uint8).tolist()) if tensor.numel() else b""
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + len(raw)]}
        parts.append(raw)
        offset += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


class Case:
    """Hyperparameters and inputs. Floating-point tensors come as float64 leaves that collect gradients."""

    def __init__(self, config, tensors):
        self.config = config
        self.stored = {k: v for k, v in tensors.items() if k.startswith(("in.", "weight."))}
        self.names = set(tensors)
        self.leaves = {}
        self.gap = float("inf")  # the least distance between what a selection took and what it left

    def __getitem__(self, name):
        stored = self.stored[name]
        if not stored.is_floating_point():
            return stored
        if name not in self.leaves:
            self.leaves[name] = stored.double().requires_grad_(True)
        return self.leaves[name]

    def __contains__(self, name):
        return name in self.stored

    def weights(self, prefix="weight."):
        return {k[len(prefix) :]: self[k] for k in self.stored if k.startswith(prefix)}

    def gradients(self, loss, names, keep=True):
        """d loss / d inputs: names maps a name in the file to the name of a leaf; zeros where nothing arrives."""
        leaves = [self[leaf] for leaf in names.values()]
        found = (torch.autograd.grad(loss, leaves, retain_graph=keep, allow_unused=True)
                 if loss.requires_grad else [None] * len(leaves))
        return {name: torch.zeros_like(leaf) if g is None else g for name, leaf, g in zip(names, leaves, found)}

    def top(self, values, k):
        """Indices of the k largest along the last dimension: by value, then by index."""
        order = torch.sort(values.detach(), dim=-1, descending=True, stable=True)
        if 0 < k < values.shape[-1]:
            self.gap = min(self.gap, float((order.values[..., k - 1] - order.values[..., k]).min()))
        return order.indices[..., :k]

    def top_mask(self, values, k):
        mask = torch.zeros(values.shape, dtype=torch.bool)
        return mask.scatter(-1, self.top(values, k), True)

    def above(self, values, threshold):
        """values >= threshold, minding how close they come."""
        if values.numel():
            self.gap = min(self.gap, float((values.detach() - threshold).abs().min()))
        return values >= threshold


class Maker:
    """Random inputs of a case, from its seed alone."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)
        self.config, self.tensors = {}, {}

    def put(self, name, value):
        value = value if isinstance(value, torch.Tensor) else torch.tensor(value)
        self.tensors[name] = value.detach().to(torch.float32 if value.is_floating_point() else torch.int64)

    def normal(self, *shape, scale=1.0):
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64) * scale

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.generator, dtype=torch.float64)

    def integers(self, below, *shape):
        return torch.randint(below, shape, generator=self.generator)

    def inputs(self, **shapes):
        for name, shape in shapes.items():
            self.put("in." + name, self.normal(*shape))


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def silu(x):
    return x * torch.sigmoid(x)


def linear(x, w, name):
    y = x @ w[name + ".weight"].T
    return y + w[name + ".bias"] if name + ".bias" in w else y


def per_sample(values, like):
    return values.reshape(-1, *[1] * (like.dim() - 1))


def mean_flat(x):
    return x.flatten(1).mean(1)

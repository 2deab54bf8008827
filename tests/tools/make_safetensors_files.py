"""Makes tests/data/safetensors with the Python packages safetensors and huggingface_hub, and reads with them what
gallop wrote: the tests compare with fixed values, so these packages are needed only to make the files again.

    pip install numpy torch safetensors huggingface_hub
    python tests/tools/make_safetensors_files.py                 makes the files
    python tests/tools/make_safetensors_files.py check FILE...   compares FILE (one file, or an index) with them
"""
import json
import sys
from pathlib import Path

import safetensors.torch
import torch
from huggingface_hub import save_torch_state_dict

FOLDER = Path(__file__).parents[1] / "data" / "safetensors"
METADATA = {"format": "pt", "note": "grüße \"all\"\n"}


def tensors():
    """Element i of every tensor is i, but for the booleans, which alternate."""
    types = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64,
             "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
             "U8": torch.uint8, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64}
    made = {f"type.{name}": torch.arange(6).to(dtype).reshape(2, 3) for name, dtype in types.items()}
    made["type.BOOL"] = torch.arange(6).remainder(2).bool().reshape(2, 3)
    made["scalar"] = torch.tensor(0.0)
    made["empty"] = torch.zeros(0, 3)
    return made


def read(path):
    if not path.name.endswith(".index.json"):
        return safetensors.torch.load_file(path)
    shards = json.loads(path.read_text())["weight_map"]
    found = {}
    for shard in sorted(set(shards.values())):
        part = safetensors.torch.load_file(path.parent / shard)
        assert all(shards[name] == shard for name in part), shard
        found |= part
    assert found.keys() == shards.keys()
    return found


if sys.argv[1:2] == ["check"]:
    for file in sys.argv[2:]:
        found, expected = read(Path(file)), tensors()
        assert found.keys() == expected.keys(), (file, found.keys() ^ expected.keys())
        for name, tensor in expected.items():
            same = found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
            assert same, (file, name, found[name])
        print(f"{file}: {len(found)} tensors, all equal")
else:
    FOLDER.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors(), FOLDER / "types.safetensors", METADATA)
    (FOLDER / "shards").mkdir(exist_ok=True)
    save_torch_state_dict(tensors(), FOLDER / "shards", max_shard_size=100, metadata=dict(METADATA))

#!/usr/bin/env python3
"""Checks what compilers do not: which header may be included where, and how long a file may be.

usage: check_includes.py [ROOT]      prints FILE:LINE: message for each offence; exit status 1 if there is any

The rules and their reasons are in CONTRIBUTING.md. The order of the layers stands here and nowhere else.
"""
import pathlib
import re
import sys

# From the top to the bottom of src/gallop: a file includes its own layer and those below.
LAYERS = [
    "serving", "distributed", "evaluation", "inspection", "training", "compute", "runs", "tasks", "models", "diffusion",
    "blocks", "sparse", "nn", "collectives", "ops", "data", "formats", "config", "base",
]
TORCH_FREE = {"data", "formats", "config", "base"}
# They cost 5 to 10 seconds a file to compile, and draw all of torch into view.
BANNED = re.compile(r"torch/(torch|types|serialize|extension)\.h|torch/(nn|optim|data)(/.*|\.h)|ATen/ATen\.h|torch/all\.h")
# Torch's inner parts: a few sources hide them from the rest.
INNER = re.compile(r"torch/csrc/.*|torch/library\.h|torch/script\.h")
MAY_USE_INNER = re.compile(r"src/gallop/ops/(bridge|library)\.cpp|src/gallop/collectives/[^/]+\.cpp")
OF_TORCH = re.compile(r"(torch|ATen|c10|caffe2|torchgen)/.*")
CUDA = re.compile(r"(ATen|c10)/cuda/.*|cuda(_runtime)?(_api)?\.h")

FOLDERS = ["apps", "src", "tests", "benchmarks", "fuzz", "tools"]
MOST_LINES = 800
INCLUDE = re.compile(r'\s*#\s*include\s*[<"]([^>"]+)[>"]')


def layer_of_source(path):
    """src/gallop/<layer>/... -> layer, None outside of src/gallop."""
    parts = path.split("/")
    return parts[2] if parts[:2] == ["src", "gallop"] and len(parts) > 3 else None


def check_include(path, header):
    """Says what is wrong with this file including this header, or nothing."""
    layer = layer_of_source(path)
    if BANNED.fullmatch(header):
        return f"<{header}> is banned: include <ATen/core/Tensor.h> and <ATen/ops/NAME.h>"
    if CUDA.fullmatch(header):
        return f"<{header}> needs a CUDA toolkit: use <ATen/DeviceAccelerator.h>"
    if layer in TORCH_FREE and OF_TORCH.fullmatch(header):
        return f"<{header}> in '{layer}', which is free of torch"
    if INNER.fullmatch(header) and not MAY_USE_INNER.fullmatch(path):
        return f"<{header}> belongs behind src/gallop/ops/bridge.h"
    if layer is None or not header.startswith("gallop/"):
        return None
    parts = header.split("/")
    if len(parts) < 3 or parts[1] not in LAYERS:
        return f'"{header}" is no header of a layer of src/gallop'
    if LAYERS.index(parts[1]) < LAYERS.index(layer):
        return f"'{layer}' is below '{parts[1]}' and must not include \"{header}\""
    return None


def check_text(path, text):
    """Yields (line, message) for a C++ file."""
    lines = text.splitlines()
    layer = layer_of_source(path)
    if layer is None and path.startswith("src/") or layer is not None and layer not in LAYERS:
        yield 1, "in no known layer; the layers stand in tools/check_includes.py"
        return
    if path.endswith(".h") and "#pragma once" not in lines:
        yield 1, "a header begins with #pragma once"
    for number, line in enumerate(lines, 1):
        include = INCLUDE.match(line)
        message = include and check_include(path, include.group(1))
        if message:
            yield number, message


def check_tree(root):
    """Returns (offences, number of files looked at)."""
    offences, count = [], 0
    files = [root / "dev"]
    for folder in FOLDERS:
        files += (p for p in sorted((root / folder).rglob("*")) if p.suffix in {".h", ".cpp", ".py", ".sh"})
    for file in files:
        if not file.is_file():
            continue
        path = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8", errors="replace")
        count += 1
        length = text.count("\n")
        if length > MOST_LINES:
            offences.append(f"{path}:{MOST_LINES}: {length} lines, {MOST_LINES} at most: split it by concept")
        if file.suffix in {".h", ".cpp"}:
            offences += (f"{path}:{line}: {message}" for line, message in check_text(path, text))
    return offences, count


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    offences, count = check_tree(root)
    for offence in offences:
        print(offence)
    if count == 0:
        print(f"{root}: no source found")
        return 1
    print(f"include rules: {count} files, {len(offences)} offences")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Checks that a run directory holds what a training run must leave, and that it is sane.

usage: check_run.py RUN --steps N     the log reaches step N with finite losses that fall, the newest checkpoint
                                      is of step N and whole, the sample sheets are pictures
       check_run.py --png FILE        FILE is a whole PNG that shows something
"""
import argparse
import json
import math
import pathlib
import struct
import sys
import zlib


class Unsound(Exception):
    """What is wrong with the files."""


def require(condition, message):
    if not condition:
        raise Unsound(message)


def check_png(path):
    """Whole chunks with right checksums, as many pixels as the header says, and not all of them equal."""
    data = path.read_bytes()
    require(data[:8] == b"\x89PNG\r\n\x1a\n", f"{path}: no PNG")
    chunks, at = [], 8
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        require(len(data) >= at + 12 + size, f"{path}: cut off in chunk {kind}")
        (checksum,) = struct.unpack(">I", data[at + 8 + size:at + 12 + size])
        require(zlib.crc32(kind + body) == checksum, f"{path}: wrong checksum of chunk {kind}")
        chunks.append((kind, body))
        at += 12 + size
    require(chunks and chunks[0][0] == b"IHDR" and chunks[-1][0] == b"IEND", f"{path}: begin or end is missing")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    require(interlace == 0, f"{path}: interlaced")
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = 1 + (width * samples * depth + 7) // 8
    pixels = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    require(len(pixels) == height * row, f"{path}: {len(pixels)} bytes of pixels, {height * row} expected")
    require(width >= 28 and height >= 28, f"{path}: {width}x{height} is no sample sheet")
    require(len(set(pixels)) > 8, f"{path}: the picture is empty")


def check_safetensors(path):
    """The header is JSON and its tensors fill the file to the byte."""
    data = path.read_bytes()
    require(len(data) > 8, f"{path}: {len(data)} bytes")
    (size,) = struct.unpack("<Q", data[:8])
    require(size <= len(data) - 8, f"{path}: header of {size} bytes in a file of {len(data)}")
    header = json.loads(data[8:8 + size])
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    require(ends, f"{path}: no tensors")
    require(max(ends) == len(data) - 8 - size, f"{path}: tensors end at {max(ends)} of {len(data) - 8 - size}")


def check_log(path, steps):
    """Steps rise to the last one, every loss is finite, and the last third is below the first."""
    losses, last = [], 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise Unsound(f"{path}:{number}: no JSON: {error}") from error
        require(isinstance(entry.get("step"), int), f"{path}:{number}: no step")
        require(entry["step"] >= last, f"{path}:{number}: step {entry['step']} after {last}")
        last = entry["step"]
        if "loss" in entry:
            loss = entry["loss"]
            require(isinstance(loss, (int, float)) and math.isfinite(loss), f"{path}:{number}: loss {loss}")
            losses.append(loss)
    require(last == steps, f"{path}: ends at step {last}, expected {steps}")
    third = len(losses) // 3
    require(third > 0, f"{path}: {len(losses)} losses")
    first, end = sum(losses[:third]) / third, sum(losses[-third:]) / third
    require(end < first, f"{path}: the loss does not fall: {first:.4f}, at the end {end:.4f}")
    return first, end


def check_run(run, steps):
    require((run / "config.toml").is_file() and (run / "config.toml").stat().st_size > 0, f"{run}: no config.toml")
    first, end = check_log(run / "log.jsonl", steps)
    checkpoint = run / "checkpoints" / f"step-{steps:08d}"
    for name in ["manifest.json", "state.json"]:
        require((checkpoint / name).is_file(), f"{checkpoint}: no {name}")
        json.loads((checkpoint / name).read_text(encoding="utf-8"))
    for name in ["model", "ema", "optimizer"]:
        check_safetensors(checkpoint / f"{name}.safetensors")
    sheets = sorted((run / "samples").glob("step-*.png"))
    require(sheets, f"{run}: no sample sheet")
    for sheet in sheets:
        check_png(sheet)
    require(list(run.glob("events.out.tfevents.*")), f"{run}: no event file")
    return f"{run}: step {steps}, loss {first:.4f} to {end:.4f}, {len(sheets)} sample sheets"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=pathlib.Path)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--png", type=pathlib.Path)
    arguments = parser.parse_args()
    if (arguments.run is None) == (arguments.png is None) or (arguments.run and arguments.steps is None):
        parser.error("either RUN --steps N or --png FILE")
    try:
        if arguments.png:
            check_png(arguments.png)
            print(f"{arguments.png}: a picture")
        else:
            print(check_run(arguments.run, arguments.steps))
    except (Unsound, OSError, ValueError, KeyError, zlib.error, struct.error) as error:
        print(f"check_run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Check that TensorBoard reads the event files of a run.

For developers, not for CI: the package `tensorboard` is large. In a virtual environment of your own:

    python3 -m venv venv && venv/bin/pip install tensorboard
    venv/bin/python tools/check_events.py runs/NAME [--scalar loss] [--image TAG] [--text TAG]

Reads all events.out.tfevents.* files of the folder with TensorBoard's own loader, prints what is there
and ends with status 1 if there is nothing, if a tag that was asked for is missing, if steps go
backwards, or if an image is no PNG of the size its event gives.
"""

import argparse
import struct
import sys

from tensorboard.backend.event_processing import event_accumulator as ea


def png_size(png):
    if png[:8] != b"\x89PNG\r\n\x1a\n" or png[12:16] != b"IHDR":
        return None
    return struct.unpack(">II", png[16:24])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="folder with the event files")
    parser.add_argument("--scalar", action="append", default=[], help="tag that must be there")
    parser.add_argument("--image", action="append", default=[], help="tag that must be there")
    parser.add_argument("--text", action="append", default=[], help="tag that must be there")
    arguments = parser.parse_args()

    events = ea.EventAccumulator(arguments.run, size_guidance={ea.SCALARS: 0, ea.IMAGES: 0, ea.TENSORS: 0})
    events.Reload()
    tags = events.Tags()
    problems = []

    for tag in tags["scalars"]:
        points = events.Scalars(tag)
        print(f"scalar {tag}: {len(points)} points, step {points[0].step} = {points[0].value:.6g} "
              f"to step {points[-1].step} = {points[-1].value:.6g}")
        if any(b.step <= a.step for a, b in zip(points, points[1:])):
            problems.append(f"the steps of scalar {tag} do not rise")
    for tag in tags["images"]:
        images = events.Images(tag)
        print(f"image {tag}: {len(images)}, steps {[i.step for i in images][:8]}, "
              f"{images[-1].width} x {images[-1].height}")
        for image in images:
            if png_size(image.encoded_image_string) != (image.width, image.height):
                problems.append(f"image {tag} at step {image.step} is no PNG of its size")
    for tag in tags["tensors"]:
        texts = events.Tensors(tag)
        print(f"text {tag}: {texts[-1].tensor_proto.string_val[0][:60]!r}")

    for kind, wanted in (("scalars", arguments.scalar), ("images", arguments.image), ("tensors", arguments.text)):
        problems += [f"{tag} is not among the {kind}" for tag in wanted if tag not in tags[kind]]
    if not any(tags[kind] for kind in ("scalars", "images", "tensors")):
        problems.append(f"TensorBoard finds no events in {arguments.run}")
    for problem in problems:
        print("wrong:", problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

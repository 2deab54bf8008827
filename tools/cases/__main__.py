"""Reference cases of every kind that a test reads, computed here from the definitions.

    python -m cases check FOLDER     recomputes what is expected of the cases that are there, and says what differs
    python -m cases write FOLDER     writes one or more cases of every kind, with seeds, sizes and hyperparameters
                                     of their own

Run in tools/, with a Python that has torch (a version of libtorch's: ~/.cache/gallop/venv and typing_extensions).
"""

import argparse
import json
import pathlib
import sys
import zlib

import torch

from . import dit, flow, gaussian, models, moe, published, routing, training  # noqa: F401: they register their kinds
from .common import EXPECTED, MAKERS, Case, Maker, read, write

# rtol and atol, where float32 loses more: a first step of ancestral sampling divides by almost nothing.
TOLERANCES = {"diffusion/ancestral_loop": (1e-4, 2e-4)}


def kind_of(folder, stem):
    best = ""
    for kind in EXPECTED:
        place, name = kind.split("/")
        for start in (name, {"dit": "sit", "dit_cfg": "sit_cfg"}.get(name)):
            fits = start and place == folder and stem.startswith(start) and not stem[len(start) : len(start) + 1].islower()
            if fits and len(start) > len(best):
                best, found = start, kind
    return found if best else None


def differences(metadata, tensors, got):
    rtol, atol = float(metadata["rtol"]), float(metadata["atol"])
    for name, want in tensors.items():
        if not name.startswith(("out.", "grad.")):
            continue
        if name not in got:
            yield f"{name} is not computed"
            continue
        value = got[name].detach().double()
        if value.shape != want.shape:
            yield f"{name} has shape {list(value.shape)} and not {list(want.shape)}"
            continue
        want = want.double()
        bad = ~((value == want) | (value.isnan() & want.isnan()) | ((value - want).abs() <= atol + rtol * want.abs()))
        if bad.any():
            yield f"{name}: {int(bad.sum())} of {bad.numel()} differ, by {float((value - want).abs().max()):.3g} at most"
    for name in got:
        if name not in tensors:
            yield f"{name} is computed, and not in the file"


def check(folder):
    wrong = count = 0
    for path in sorted(folder.rglob("*.safetensors")):
        kind = kind_of(path.parent.name, path.stem)
        if kind is None:
            print(f"no kind: {path}")
            continue
        metadata, tensors = read(path)
        case = Case(json.loads(metadata["config"]), tensors)
        case.names = set(tensors)
        count += 1
        try:
            found = list(differences(metadata, tensors, EXPECTED[kind](case)))
        except Exception as error:  # noqa: BLE001: told with its case
            found = [f"{type(error).__name__}: {error}"]
        wrong += bool(found)
        for line in found[:6]:
            print(f"{path.parent.name}/{path.stem}: {line}")
    print(f"{count - wrong} of {count} cases agree")
    return wrong == 0


def tolerance(kind, got):
    """As in the given cases: a few float32 roundings of the largest value."""
    rtol, atol = TOLERANCES.get(kind, (2e-5, 2e-6))
    exact = all(not v.is_floating_point() for v in got.values())
    if exact:
        return 0, 0
    largest = max((float(v.abs()[v.isfinite()].max()) for v in got.values() if v.is_floating_point() and v.numel()),
                  default=0)
    return rtol, max(atol, float(f"{1e-6 * largest:.0e}"))


def write_all(folder, seed, small):
    total = count = 0
    for kind in sorted(EXPECTED):
        if kind not in MAKERS:
            raise SystemExit(f"nothing makes a case of the kind {kind}")
        for name, make, large in MAKERS[kind]:
            if small and large:
                continue
            for attempt in range(50):
                m = Maker(zlib.crc32(f"{seed} {name} {attempt}".encode()))
                make(m)
                case = Case(m.config, m.tensors)
                got = {k: v.detach() for k, v in EXPECTED[kind](case).items()}
                if case.gap > 2e-3 or m.config.get("ties"):
                    break
            else:
                raise SystemExit(f"{name}: what it selects is never clear, the gap is {case.gap}")
            rtol, atol = tolerance(kind, got)
            expected = {k: v.to(torch.float32 if v.is_floating_point() else torch.int64) for k, v in got.items()}
            metadata = {"config": json.dumps(m.config), "rtol": str(rtol), "atol": str(atol),
                        "what": (EXPECTED[kind].__doc__ or f"another case of {kind}").strip(),
                        "source": "tools/cases, float64"}
            path = folder / kind.split("/")[0] / f"{name}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, metadata, {**m.tensors, **expected})
            total += path.stat().st_size
            count += 1
    print(f"{count} cases of {len(EXPECTED)} kinds, {total} bytes, in {folder}")


def main():
    parser = argparse.ArgumentParser(prog="cases", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["check", "write"])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers that are written")
    parser.add_argument("--small", action="store_true", help="leave out the larger cases, as tests/data/second_fixtures does")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "check":
        return 0 if check(args.folder) else 1
    write_all(args.folder, args.seed, args.small)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""The bits that the program gives, against those it gave before a change that must keep them.

    golden.py check  --program build/release/gallop   what CI does: compare with tests/data/golden
    golden.py before COMMIT                                       build COMMIT beside this tree, run both, compare
    golden.py store  --program ...                                keep what this machine gives (a change of numbers)
    golden.py keep   --program ...                                keep checkpoints of this program to resume from

For each case: 20 training steps (log, weights, moving average, moments), samples, samples with 8-bit weights,
calibration, and the same end of training out of a kept checkpoint of step 10. Bits depend on the CPU, the number of
threads and libtorch; on a machine for which none are stored, losses and samples are compared to 1e-5 relative with the
stored numbers, which is said (the first three losses decide, since one choice that falls the other way by rounding moves
all that follows; `before` compares the bits there).
"""

import argparse
import concurrent.futures
import hashlib
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORE = ROOT / "tests/data/golden"
STEPS, KEPT_STEP = 20, 10
SURE_STEPS = 3  # whose losses are the same on every machine but for rounding
TOLERANCE = 1e-5

# The form of a recipe as it was when the bits were stored. It stays: old recipes load for ever.
RECIPE = """
seed = 5
threads = 1
device = "cpu"
data.source = { kind = "idx", path = "data" }
task = { kind = "image-generation", objective = "flow" }
train = { steps = 20, batch = 6, accumulate = 2 }
optimizer = { kind = "adamw", lr = 3e-3 }
schedule = { kind = "cosine", warmup = 3 }
ema = { decay = 0.9, warmup = true }
eval = { every = 10, samples = 12, batch = 12 }
sample = { every = 0, steps = 4, guidance = 1.5 }
checkpoint = { every = 10, keep_last = 5, background_save = false }
log = { every = 1, tensorboard = false }
[model]
kind = "dit"
depth = 2
width = 8
heads = 2
patch = 2
[model.mlp]
kind = "moe"
setting = "2-in-4"
[model.mlp.losses]
router_similarity.weight = 1e-4
per_layer.weight = 1e-2
"""


def moe(parts):
    return ['model.mlp={kind="moe",setting="2-in-4",' + parts + "}"]


DENSE = 'model.mlp={kind="dense"}'
CASES = {f"selection-{kind}": [f"model.mlp.selection={kind}"]
         for kind in ("race", "bl", "be", "le", "token", "expert")} | {
    "dense": [DENSE],
    "soft_moe": ['model.mlp={kind="soft_moe"}'],
    "moh": ["model.heads=4", 'model.attention={kind="moh",shared=1,active=1}'],
    "ddpm": ['task.objective={kind="ddpm"}', "sample.sampler=ddpm"],
    "no-labels": ['data.source={kind="folder",path="pictures",channels=1}', "sample.guidance=1"],
    "bf16": ['train.precision="bf16"'],
    "grouped": moe('selection={kind="grouped",groups=2,bias_rate=0.1},gate="sigmoid"'),
    "diffmoe": moe('selection="diffmoe",router="linear",losses={capacity={weight=1}}'),
    "growing": moe('selection={kind="growing",steps=10}'),
    "dense_to_sparse": moe('selection={kind="dense_to_sparse",steps=10}'),
    "capacity": moe('selection="capacity"'),
    "top_p": moe('selection="top_p",gate="softmax"'),
    "noisy": moe('selection="token",router="noisy",losses={load={weight=0.1}}'),
    "timestep": moe('selection="token",router="timestep"'),
    "shared": moe('selection="token",expert={kind="shared"}'),
    "glu": moe('expert={kind="glu",bias=false}'),
    "promoe": moe('selection={kind="conditional"},router="prototype",expert={kind="unconditional"},'
                  'losses={contrastive={weight=0.1}}'),
    "mod": ["model.block_routing=mod", DENSE],
    "mor": ["model.block_routing=mor", DENSE],
    "p_mod": ["model.block_routing=p_mod", DENSE],
    "timestep_mask": ["model.block_routing=timestep_mask", DENSE],
}
# For the kernels, and wide enough for weights in 8 bits; their checkpoints would be too large to keep.
WIDE = {f"wide-{name}": ["model.width=96", "model.heads=3", *parts] for name, parts in {
    "race": [], "dense": [DENSE], "soft_moe": ['model.mlp={kind="soft_moe"}'],
    "glu": CASES["glu"], "shared": CASES["shared"],
    "moh": ["model.heads=6", 'model.attention={kind="moh",shared=1,active=2}']}.items()}
CASES |= WIDE
NOT_KEPT = {*WIDE, "bf16"}
NEEDED_OF_THE_CPU = {"bf16": "avx512_bf16"}
# What calibrate sets thresholds for; the others have none.
CALIBRATED = {"selection-race", "selection-bl", "selection-be", "moh", "bf16", "wide-race"}


def tensors(path):
    """Names, kinds, shapes and bytes of a safetensors file, without a library."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    for name in sorted(header):
        entry = header[name]
        begin, end = entry["data_offsets"]
        yield name, entry["dtype"], entry["shape"], data[8 + length + begin:8 + length + end]


def digest(path):
    found = hashlib.sha256()
    for name, dtype, shape, data in tensors(path):
        found.update(f"{name} {dtype} {shape}\n".encode() + data)
    return found.hexdigest()[:32]


def numbers_of(path):
    """A few numbers of each tensor that move when its values do."""
    result = []
    for _, dtype, _, data in tensors(path):
        if dtype == "F32":
            values = struct.unpack(f"<{len(data) // 4}f", data)
            result += [math.fsum(abs(v) for v in values), math.sqrt(math.fsum(v * v for v in values))]
    return result


def log_lines(run):
    """The lines of a log without what depends on the clock."""
    lines = []
    for text in (run / "log.jsonl").read_text().splitlines():
        line = json.loads(text)
        lines.append({k: v for k, v in line.items() if k not in ("time", "seconds") and not k.endswith("_per_second")})
    return lines


def write_idx(path, shape, data):
    path.write_bytes(bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + data)


def write_png(path, side, pixels):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + pixels[at:at + side] for at in range(0, side * side, side))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def picture(i, side, classes):
    """A bar with a pattern."""
    label = i % classes
    return bytes((200 if at // side == label * side // classes else 30) + (i * 31 + at * 17) % 40
                 for at in range(side * side))


def write_data(folder, side=8, classes=4):
    """folder/data as IDX files with labels, folder/pictures as PNG without."""
    (folder / "data").mkdir()
    for name, count in (("train", 48), ("t10k", 12)):
        pixels = b"".join(picture(i, side, classes) for i in range(count))
        write_idx(folder / f"data/{name}-images-idx3-ubyte", [count, side, side], pixels)
        write_idx(folder / f"data/{name}-labels-idx1-ubyte", [count], bytes(i % classes for i in range(count)))
    (folder / "pictures").mkdir()
    for i in range(48):
        write_png(folder / f"pictures/{i:02d}.png", side, picture(i, side, classes))


def machine(environment):
    """What bits depend on: what the run itself says of that, and the CPU's kind more exactly."""
    cpu = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        cpu[name.strip()] = value.strip()
    kind = {name: cpu.get(name, "") for name in ("vendor_id", "cpu family", "model")}
    widest = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni") if flag in cpu.get("flags", "").split()]
    return json.dumps({**environment, **kind, "instructions": " ".join(widest)}, sort_keys=True)


class Failure(Exception):
    pass


def call(program, folder, *arguments):
    done = subprocess.run([str(program), *arguments], cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Failure(f"gallop {' '.join(arguments)} ended with status {done.returncode}:\n{done.stdout[-3000:]}")


def train(program, folder, name):
    """The run of a case from its beginning, in folder/run, and its data beside it."""
    write_data(folder)
    (folder / "golden.toml").write_text(RECIPE)
    change = [word for key in CASES[name] for word in ("--set", key)]
    call(program, folder, "train", "golden.toml", "--out", "run", *change)
    return folder / "run"


def end_of(run):
    """Hashes and numbers of a run that has ended."""
    lines = log_lines(run)
    last = run / "checkpoints" / f"step-{STEPS:08d}"
    hashes = {name: digest(last / f"{name}.safetensors") for name in ("model", "ema", "optimizer")}
    hashes["log"] = hashlib.sha256("\n".join(json.dumps(l, sort_keys=True) for l in lines).encode()).hexdigest()[:32]
    environment = json.loads((last / "state.json").read_text())["state"]["environment"]
    return hashes, [l["loss"] for l in lines if l["kind"] == "train"], environment


def run_case(program, name, resume_from):
    """All results of a case: {"hashes": part -> hash, "numbers": part -> numbers, "machine": text}."""
    with tempfile.TemporaryDirectory(prefix="gallop-golden-") as temporary:
        folder = pathlib.Path(temporary)
        trained, losses, environment = end_of(train(program, folder, name))
        hashes, numbers = {f"training: {k}": v for k, v in trained.items()}, {"losses": losses}
        sample = ["sample", "run", "--seed", "3", "--count", "6", "--out"]
        call(program, folder, *sample, "samples.safetensors")
        if name in WIDE:
            call(program, folder, *sample, "int8.safetensors", "--int8", "--int8-check", "12")
            hashes["int8"] = digest(folder / "int8.safetensors")
        hashes["samples"] = digest(folder / "samples.safetensors")
        numbers["samples"] = numbers_of(folder / "samples.safetensors")
        if name in CALIBRATED:
            call(program, folder, "calibrate", "run", "--batches", "3", "--out", "calibrated.safetensors")
            hashes["calibrated"] = digest(folder / "calibrated.safetensors")
        if resume_from and name not in NOT_KEPT:
            kept = resume_from / name
            if not kept.is_dir():
                raise Failure(f"there is no checkpoint to resume from: {kept}")
            shutil.copytree(kept, folder / "kept")
            call(program, folder, "train", "kept/config.toml")
            resumed, _, _ = end_of(folder / "kept")
            hashes |= {f"resumed: {k}": v for k, v in resumed.items()}
        return {"hashes": hashes, "numbers": numbers, "machine": machine(environment)}


def possible(names):
    """Without the cases that this CPU cannot run, which are named."""
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    missing = {name: flag for name, flag in NEEDED_OF_THE_CPU.items() if name in names and flag not in flags}
    for name, flag in missing.items():
        print(f"left out: {name}, since this CPU has no {flag}")
    return [name for name in names if name not in missing]


def run_cases(program, names, jobs, resume_from=STORE / "runs"):
    names = possible(names)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {name: pool.submit(run_case, program, name, resume_from) for name in names}
        results, failures = {}, {}
        for name, future in futures.items():
            try:
                results[name] = future.result()
            except Failure as failure:
                failures[name] = str(failure)
    return results, failures


def differences(name, found, expected):
    """Parts whose hash is not the expected one."""
    parts = [part for part in sorted(found | expected) if found.get(part) != expected.get(part)]
    return [f"{name}: {', '.join(parts)}"] if parts else []


def far_numbers(name, found, expected):
    lines = []
    for part, values in expected.items():
        got = found.get(part, [])
        far = [f"{a!r} instead of {b!r}" for a, b in zip(got, values) if not abs(a - b) <= TOLERANCE * abs(b)]
        if len(got) != len(values) or far:
            lines.append(f"{name}: {part}: {len(got)} of {len(values)} numbers, {len(far)} beyond {TOLERANCE:g}"
                         + (f", first {far[0]}" if far else ""))
    return lines


def report(failures, wrong, what):
    for name, text in failures.items():
        print(f"FAILED {name}: {text}")
    for line in wrong:
        print(f"DIFFERENT {line}")
    if failures or wrong:
        print(f"{len(failures)} cases failed, {len(wrong)} differ ({what})")
        return 1
    return 0


def check(args):
    stored = json.loads((STORE / "hashes.json").read_text())
    results, failures = run_cases(args.program, args.cases, args.jobs)
    wrong, exact = [], 0
    for name, result in results.items():
        machine = stored["machines"].get(result["machine"], {})
        if name in machine:
            exact += 1
            wrong += differences(name, result["hashes"], machine[name])
        elif name not in stored["numbers"]:
            print(f"not compared: {name}, which no machine has stored so far")
        else:
            first = {"losses": stored["numbers"][name]["losses"][:SURE_STEPS]}
            wrong += far_numbers(name, {"losses": result["numbers"]["losses"][:SURE_STEPS]}, first)
            for line in far_numbers(name, result["numbers"], stored["numbers"][name]):
                print(f"said only: {line}")
    if exact < len(results):
        print(f"{len(results) - exact} cases compared to {TOLERANCE:g} relative only: no hashes are stored for "
              f"{next(iter(results.values()))['machine']}; golden.py before COMMIT compares the bits with a commit")
    status = report(failures, wrong, "tests/data/golden")
    if not status:
        print(f"{len(results)} cases as stored, {exact} of them to the bit")
    return status


def before(args):
    with tempfile.TemporaryDirectory(prefix="gallop-before-") as temporary:
        clone = pathlib.Path(temporary) / "clone"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(clone), args.commit], check=True)
        try:
            subprocess.run([str(clone / "dev"), "build", "gallop"], check=True, cwd=clone)
            subprocess.run([str(ROOT / "dev"), "build", "gallop"], check=True, cwd=ROOT)
            relative = pathlib.Path(args.program).resolve().relative_to(ROOT)
            old, old_failures = run_cases(clone / relative, args.cases, args.jobs)
            new, failures = run_cases(args.program, args.cases, args.jobs)
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(clone)], check=True)
    for name, text in old_failures.items():
        print(f"{args.commit} FAILED {name}: {text}")
    wrong = [line for name in old if name in new for line in differences(name, new[name]["hashes"], old[name]["hashes"])]
    status = report(failures, wrong, args.commit)
    if not status:
        print(f"{len(new)} cases give the bits of {args.commit}")
    return status or bool(old_failures)


def store(args):
    path = STORE / "hashes.json"
    stored = json.loads(path.read_text()) if path.exists() else {"machines": {}, "numbers": {}}
    results, failures = run_cases(args.program, args.cases, args.jobs)
    for name, result in results.items():
        stored["machines"].setdefault(result["machine"], {})[name] = result["hashes"]
        stored["numbers"][name] = result["numbers"]
    STORE.mkdir(exist_ok=True)
    path.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    return report(failures, [], "nothing stored for them")


def keep(args):
    for name in args.cases:
        if name in NOT_KEPT:
            continue
        kept = STORE / "runs" / name
        with tempfile.TemporaryDirectory(prefix="gallop-golden-") as temporary:
            # The whole run, and what it had written at the step that is kept.
            run = train(args.program, pathlib.Path(temporary), name)
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            shutil.copy(run / "config.toml", kept)
            step = f"checkpoints/step-{KEPT_STEP:08d}"
            shutil.copytree(run / step, kept / step)
            lines = [l for l in (run / "log.jsonl").read_text().splitlines() if json.loads(l)["step"] <= KEPT_STEP]
            (kept / "log.jsonl").write_text("\n".join(lines) + "\n")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["check", "before", "store", "keep"])
    parser.add_argument("commit", nargs="?", help="for before")
    parser.add_argument("--program", type=lambda p: pathlib.Path(p).resolve(), default=ROOT / "build/release/gallop")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--part", default="0/1", help="I/N: every N-th case from the I-th")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    if (args.what == "before") != (args.commit is not None):
        parser.error("a commit goes with `before`, and `before` needs one")
    part, parts = map(int, args.part.split("/"))
    args.cases = args.cases[part::parts]
    sys.exit({"check": check, "before": before, "store": store, "keep": keep}[args.what](args))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Training steps, and evaluations of sampling, of gallop beside the same models in plain PyTorch, in turns.

    ./dev build benchmarks && benchmarks/peers/compare.py [--what step|evaluation] [--rounds 3] [--seconds 10] \\
        [--threads 2] [--out docs/FILE]

Needs a Python with torch 2.13 for the peers (--python; default: the one that runs this). Each round measures gallop,
the usual form and the best form of every case, one process at a time; the table has the median over the rounds, and
for steps the peak memory of the processes. Writes OUT.json and OUT.md, or prints the table.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASES = ["default-race", "default-dense", "s2-race-2in8", "s2-race-4in32", "s2-dense"]


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)
    flags = set(re.search(r"flags\s*: (.*)", text).group(1).split())
    known = [f for f in ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if f in flags]
    return f"{name.group(1) if name else platform.machine()}, {', '.join(known)}"


def measured(command, env=None):
    """The JSON that a program prints, and its peak memory in MiB."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with status {process.returncode}")
    return json.loads(text), usage.ru_maxrss / 1024


def ours(case, kind, args):
    program = {"step": "bench_train_step", "evaluation": "bench_evaluation"}[args.what]
    out, memory = measured(
        [str(ROOT / "build/release/benchmarks" / program), f"--benchmark_filter={args.what}/{case}/{kind}(/|$)",
         "--benchmark_format=json", f"--benchmark_min_time={args.seconds}"],
        {**os.environ, "OMP_NUM_THREADS": str(args.threads)})
    row = out["benchmarks"][0]
    return row["images"] / (row["real_time"] * {"ms": 1e-3, "us": 1e-6, "s": 1}[row["time_unit"]]), memory


def peer(case, form, args):
    out, memory = measured(
        [args.python, str(ROOT / "benchmarks/peers/race_dit.py"), "--case", case, "--form", form, "--what", args.what,
         "--threads", str(args.threads), "--seconds", str(args.seconds)])
    return out["images_per_second"], memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["step", "evaluation"], default="step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--cases", nargs="*", default=CASES, choices=CASES)
    parser.add_argument("--out")
    args = parser.parse_args()
    steps = args.what == "step"
    forms = {"gallop": lambda case: ours(case, "kernel", args)}
    if not steps:
        forms["8 bits"] = lambda case: ours(case, "int8", args)
    forms["usual"] = lambda case: peer(case, "usual", args)
    forms["best"] = lambda case: peer(case, "best", args)
    found = {(case, form): [] for case in args.cases for form in forms}
    for _ in range(args.rounds):
        for case in args.cases:
            for form, run in forms.items():
                found[case, form].append(run(case))
            print(case, {form: round(found[case, form][-1][0], 2) for form in forms}, file=sys.stderr)
    rate = {key: statistics.median(r for r, _ in values) for key, values in found.items()}
    memory = {key: statistics.median(m for _, m in values) for key, values in found.items()}
    head = ["training step" if steps else "guided evaluation", "gallop, images/s", "usual PyTorch form",
            "best torch form", "against usual", "against best"]
    head += ["peak memory, gallop", "usual", "ratio"] if steps else ["8 bits, images/s", "against usual"]
    lines = [f"{machine()}; {args.threads} threads, float32 unless said, median of {args.rounds} rounds in turns.", "",
             "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for case in args.cases:
        g, u, b = (rate[case, form] for form in ("gallop", "usual", "best"))
        cells = [case, f"{g:.2f}", f"{u:.2f}", f"{b:.2f}", f"{g / u:.2f}x", f"{g / b:.2f}x"]
        if steps:
            mine, theirs = memory[case, "gallop"], memory[case, "usual"]
            cells += [f"{mine:.0f} MiB", f"{theirs:.0f} MiB", f"{mine / theirs:.2f}x"]
        else:
            q = rate[case, "8 bits"]
            cells += [f"{q:.2f}", f"{q / u:.2f}x"]
        lines.append("| " + " | ".join(cells) + " |")
    table = "\n".join(lines) + "\n"
    if args.out:
        pathlib.Path(args.out + ".md").write_text(table)
        pathlib.Path(args.out + ".json").write_text(json.dumps(
            {"machine": machine(), "threads": args.threads, "what": args.what,
             "images_per_second": {f"{case}/{form}": [r for r, _ in values] for (case, form), values in found.items()},
             "peak_mib": {f"{case}/{form}": [m for _, m in values] for (case, form), values in found.items()}},
            indent=1) + "\n")
    print(table)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Training steps of gallop beside the same models in plain PyTorch, in turns on one machine.

    ./dev build benchmarks && benchmarks/peers/compare.py [--rounds 3] [--seconds 10] [--threads 2] [--out docs/FILE]

Needs a Python with torch 2.13 for the peers (--python; default: the one that runs this). Each round measures gallop,
the usual form and the best form of every case, one process at a time; the table has the median over the rounds.
Writes OUT.json and OUT.md, or prints the table.
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


def ours(case, args):
    out = subprocess.run(
        [str(ROOT / "build/release/benchmarks/bench_train_step"), f"--benchmark_filter=step/{case}/kernel",
         "--benchmark_format=json", f"--benchmark_min_time={args.seconds}"],
        env={**os.environ, "OMP_NUM_THREADS": str(args.threads)}, check=True, capture_output=True, text=True)
    row = json.loads(out.stdout)["benchmarks"][0]
    return row["images"] / (row["real_time"] * {"ms": 1e-3, "us": 1e-6, "s": 1}[row["time_unit"]])


def peer(case, form, args):
    out = subprocess.run(
        [args.python, str(ROOT / "benchmarks/peers/race_dit.py"), "--case", case, "--form", form, "--threads",
         str(args.threads), "--seconds", str(args.seconds)], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["images_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--cases", nargs="*", default=CASES, choices=CASES)
    parser.add_argument("--out")
    args = parser.parse_args()
    rates = {(case, who): [] for case in args.cases for who in ("gallop", "usual", "best")}
    for _ in range(args.rounds):
        for case in args.cases:
            rates[case, "gallop"].append(ours(case, args))
            rates[case, "usual"].append(peer(case, "usual", args))
            rates[case, "best"].append(peer(case, "best", args))
            print(case, {who: round(rates[case, who][-1], 2) for who in ("gallop", "usual", "best")}, file=sys.stderr)
    median = {key: statistics.median(values) for key, values in rates.items()}
    lines = [f"{machine()}; {args.threads} threads, float32, median of {args.rounds} rounds in turns.", "",
             "| training step | gallop, images/s | usual PyTorch form | best torch form | against usual | against best |",
             "|---|---|---|---|---|---|"]
    for case in args.cases:
        g, u, b = (median[case, who] for who in ("gallop", "usual", "best"))
        lines.append(f"| {case} | {g:.2f} | {u:.2f} | {b:.2f} | {g / u:.2f}x | {g / b:.2f}x |")
    table = "\n".join(lines) + "\n"
    if args.out:
        pathlib.Path(args.out + ".md").write_text(table)
        pathlib.Path(args.out + ".json").write_text(json.dumps(
            {"machine": machine(), "threads": args.threads,
             "images_per_second": {f"{case}/{who}": values for (case, who), values in rates.items()}}, indent=1) + "\n")
    print(table)


if __name__ == "__main__":
    main()

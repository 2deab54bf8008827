#!/usr/bin/env python3
"""Training steps alone and beside other programs, in turns, and beside another build of them.

    ./dev build benchmarks && benchmarks/neighbours.py [--before FOLDER] [--rounds 5] [--seconds 6] [--out FILE.md]

A busy program is one thread that computes without pause. Situations: alone, beside one of them, beside two, and
beside two that are `nice 19`. Each round measures every case in every situation, one process at a time; with --before
(the build folder of another commit, build/release of its clone) that build's process runs right before or after this one's,
by turns. The table has medians over the rounds, images/s and ratios within this run.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CASES = ["default-race", "s2-dense", "s2-race-2in8"]
BUSY = "while True: pass"  # in the same session as what is measured: Linux shares cores out among sessions first
SITUATIONS = {"alone": (0, 0), "beside one": (1, 0), "beside two": (2, 0), "beside two, nice 19": (2, 19)}
UNITS = {"ms": 1e-3, "us": 1e-6, "s": 1}


@contextlib.contextmanager
def busy_programs(count, niceness):
    programs = [subprocess.Popen([sys.executable, "-c", BUSY], preexec_fn=lambda: os.nice(niceness))
                for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
        for program in programs:
            program.wait()


def rate(build, case, seconds, threads):
    command = [str(build / "benchmarks/bench_train_step"), f"--benchmark_filter=step/{case}/kernel(/|$)",
               "--benchmark_format=json", f"--benchmark_min_time={seconds}"]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    row = json.loads(done.stdout)["benchmarks"][0]
    return row["images"] / (row["real_time"] * UNITS[row["time_unit"]])


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)
    return name.group(1) if name else "unknown CPU"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--before", type=pathlib.Path, help="build folder of another commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cases", nargs="*", default=CASES)
    parser.add_argument("--situations", nargs="*", default=list(SITUATIONS), choices=list(SITUATIONS))
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    builds = {"now": args.build} | ({"before": args.before} if args.before else {})
    found = {}
    for turn in range(args.rounds):
        order = list(builds) if turn % 2 == 0 else list(builds)[::-1]
        for case in args.cases:
            for situation in args.situations:
                with busy_programs(*SITUATIONS[situation]):
                    for build in order:
                        value = rate(builds[build], case, args.seconds, args.threads)
                        found.setdefault((case, situation, build), []).append(value)
                        print(f"round {turn + 1}: {case}, {situation}, {build}: {value:.3g} images/s", file=sys.stderr)

    def median(case, situation, build):
        return statistics.median(found[case, situation, build])

    lines = [f"{machine()}, {args.threads} threads, medians of {args.rounds} rounds of {args.seconds:g} s.", "",
             "| step | situation | " + " | ".join(f"{b}, images/s | of alone" for b in builds)
             + (" | now over before |" if args.before else " |"),
             "|---|---|" + "---|---|" * len(builds) + ("---|" if args.before else "")]
    for case in args.cases:
        for situation in args.situations:
            cells = [case, situation]
            for build in builds:
                alone = median(case, "alone", build) if "alone" in args.situations else float("nan")
                value = median(case, situation, build)
                cells += [f"{value:.3g}", f"{value / alone:.0%}"]
            if args.before:
                pairs = [a / b for a, b in zip(found[case, situation, "now"], found[case, situation, "before"])]
                cells.append(f"{statistics.median(pairs):.2f}x")
            lines.append("| " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()

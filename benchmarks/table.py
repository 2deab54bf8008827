#!/usr/bin/env python3
"""One JSON and one Markdown table of what the benchmark programs measured; ./dev bench calls it.

    benchmarks/table.py OUT FILE.json...     # files of --benchmark_out; writes OUT.json and OUT.md

A row for each operator or step and pass: its kernel beside its references, as ratios within this run, and its rate as
a share of the peak that bench_peak measured.
"""

import json
import pathlib
import re
import sys

UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)
    flags = set(re.search(r"flags\s*: (.*)", text).group(1).split())
    known = [f for f in ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if f in flags]
    return f"{name.group(1) if name else 'unknown CPU'}, {', '.join(known)}"


def short(seconds):
    for unit, factor in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def main():
    out, files = sys.argv[1], sys.argv[2:]
    rows, peak = {}, 0.0
    for file in files:
        for run in json.loads(pathlib.Path(file).read_text())["benchmarks"]:
            if run.get("run_type") == "aggregate" or "error_message" in run:
                continue
            name = re.sub(r"/(process_time|real_time|iterations:\d+|threads:\d+)", "", run["name"])
            cpu = run["cpu_time"] * UNITS[run["time_unit"]]
            wall = run["real_time"] * UNITS[run["time_unit"]]
            if name == "peak/fma":
                peak = max(peak, run["FLOP_per_cpu_s"] if "threads" not in run["name"] else 0)
                continue
            case, _, kind = name.rpartition("/")
            flops = run.get("FLOP_per_cpu_s", 0)
            if "real_time" in run["name"]:  # the counter is a rate of wall time there
                flops = flops * wall / cpu
            rows.setdefault(case or kind, {})[kind] = {"cpu": cpu, "wall": wall, "flop_per_cpu_s": flops}
    lines = [f"{machine()}; CPU time of all threads; peak of one core {peak / 1e9:.0f} GFLOP/s.", "",
             "| what | kernel | share of peak | reference | ratio | oneDNN | ratio | bf16 | gain | 8 bits | gain |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    others = []
    for case, kinds in rows.items():
        kernel = kinds.get("kernel")
        if not kernel:
            others += [f"| {case}/{kind} | {short(t['wall'])} |" for kind, t in kinds.items()]
            continue
        cells = [case, short(kernel["cpu"]),
                 f"{100 * kernel['flop_per_cpu_s'] / peak:.0f} %" if peak and kernel["flop_per_cpu_s"] else ""]
        for other in ("reference", "onednn"):
            time = kinds.get(other, {}).get("cpu")
            cells += [short(time), f"{time / kernel['cpu']:.2f}x"] if time else ["", ""]
        for narrow in ("bf16", "int8"):
            time = kinds.get(narrow, {}).get("cpu")
            cells += [short(time), f"{kernel['cpu'] / time:.2f}x"] if time else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    if others:
        lines += ["", "| what | time |", "|---|---|", *others]
    pathlib.Path(out + ".md").write_text("\n".join(lines) + "\n")
    pathlib.Path(out + ".json").write_text(json.dumps({"machine": machine(), "peak": peak, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# The README's first command on a tiny budget, and what a reader does next: resume, sample, inspect.
# Below two minutes on two cores. usage: tools/ci_main_job.sh [FOLDER], by default a temporary one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-}
if [[ -z $folder ]]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
run=$folder/run
recipe=recipes/race-dit/fashion-mnist.toml
budget=(--set train.batch=16 --set schedule.warmup=5 --set log.every=1
  --set eval.every=15 --set checkpoint.every=15 --set sample.every=15)

fail() { printf 'main job: %s\n' "$*" >&2; exit 1; }

./dev run train "$recipe" --out "$run" --set train.steps=30 "${budget[@]}" </dev/null
python3 tools/check_run.py "$run" --steps 30

# The same command with more steps goes on where the run stopped.
./dev run train "$recipe" --out "$run" --set train.steps=40 "${budget[@]}" </dev/null
python3 tools/check_run.py "$run" --steps 40

./dev run sample "$run" --labels 0,9 --count 4 --steps 4 --seed 7 --out "$folder/grid.png" </dev/null
python3 tools/check_run.py --png "$folder/grid.png"
./dev run sample "$run" --labels 0,9 --count 4 --steps 4 --seed 7 --out "$folder/again.png" </dev/null
cmp "$folder/grid.png" "$folder/again.png" || fail "the same seed gave another picture"

./dev run inspect "$run" </dev/null >"$folder/inspect.txt"
grep -q 40 "$folder/inspect.txt" || fail "inspect does not name step 40: $(head -5 "$folder/inspect.txt")"

# A mistake of the user ends with status 2 and leaves the run as it is.
before=$(find "$run" -type f -exec cksum {} + | sort)
status=0
./dev run train "$recipe" --out "$run" --set train.stepz=1 </dev/null 2>"$folder/error.txt" || status=$?
((status == 2)) || fail "an unknown key ended with status $status: $(cat "$folder/error.txt")"
grep -q "did you mean 'steps'" "$folder/error.txt" || fail "an unknown key is answered without the nearest known one: $(cat "$folder/error.txt")"
[[ $before == "$(find "$run" -type f -exec cksum {} + | sort)" ]] || fail "a refused command changed the run"
echo "main job: trained, resumed, sampled, inspected"

#!/usr/bin/env bash
# Race-DiT against its dense twin (equal multiply-adds a token, router included) on Fashion-MNIST: three paired
# seeds of 1,000 steps at batch 32, at equal steps and at equal seconds. docs/results/race-vs-dense.md has a result.
# usage: benchmarks/race_vs_dense.sh OUT [DENSE_STEPS]
#   GALLOP names another program than that of build/release.
#   DENSE_STEPS: steps that the dense model takes in the seconds of 1,000 steps of Race-DiT (third arm)
# The arms of a seed run side by side, one thread each, so that whatever else the machine does slows both.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: benchmarks/race_vs_dense.sh OUT [DENSE_STEPS]}
longer=${2:-}
./dev build gallop  # first, so that nothing else works beside the arms

arm() { # NAME RECIPE STEPS SEED
  OMP_NUM_THREADS=1 "${GALLOP:-build/release/gallop}" train "$2" --out "$out/$1-$4" \
    --set seed="$4" --set threads=1 --set train.steps="$3" --set train.batch=32 --set schedule.warmup=200 \
    --set eval.every=1000 --set sample.every=0 --set checkpoint.every=1000 2>"$out/$1-$4.log"
}

mkdir -p "$out"
for seed in 1 2 3; do
  if [[ -z $longer ]]; then
    arm race recipes/race-dit/fashion-mnist.toml 1000 "$seed" &
    arm dense recipes/dit/fashion-mnist.toml 1000 "$seed" &
    wait
  else
    arm dense-longer recipes/dit/fashion-mnist.toml "$longer" "$seed" &  # its time does not count
  fi
done
wait
grep -H 'held-out\|^done' "$out"/*.log | sed "s|^$out/||"

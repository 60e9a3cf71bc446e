#!/usr/bin/env bash
# `make reproduce`: every experiment at one scale, then docs/reproduction.md from what they gave.
#
#   SCALE           smoke, cpu (default) or paper
#   TORCHCAPS_DATA  folder with mnist/ and fashion-mnist/ (idx files) and cifar10-jpg/ (train/CLASS/*.jpg
#                   and test/CLASS/*.jpg); without mnist/ the digits are downloaded
#   RUNS            where the trainings are kept (default: runs)
#
# Interrupted, the same command goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

scale=${SCALE:-cpu}
data=${TORCHCAPS_DATA:-}
runs=${RUNS:-runs}
folders=()

reproduce() { # NAME FOLDER [OPTION…]
	echo "== $1 ${*:3}"
	python -m reproduction "$1" --scale "$scale" --out "$runs/$2" "${@:3}"
	folders+=("$runs/$2")
}

mnist=()
if [[ -n $data && -d $data/mnist ]]; then mnist=(--data-dir "$data/mnist"); fi

for name in $(python -m reproduction --list | sed -n 's/^\([a-z0-9-]*\): .*/\1/p'); do
	if [[ $name == cifar-loss && $scale != smoke ]]; then continue; fi
	reproduce "$name" "$name-$scale" "${mnist[@]}"
done

if [[ $scale == smoke ]]; then
	echo "== nothing is published: at the scale smoke the figures say only that all of it runs"
	exit
fi
if [[ -n $data && -d $data/cifar10-jpg/train ]]; then
	cifar=(--data cifar10 --data-dir "$data/cifar10-jpg")
	reproduce cifar-loss "cifar-loss-$scale" "${cifar[@]}"
	reproduce iterations "iterations-$scale-cifar10" "${cifar[@]}"
	reproduce league "league-$scale-cifar10" "${cifar[@]}"
else
	echo "== left out: CIFAR-10 (set TORCHCAPS_DATA to a folder with cifar10-jpg/train/CLASS/*.jpg in it)"
fi

if [[ -n $data && -d $data/fashion-mnist ]]; then
	reproduce league "league-$scale-fashion-mnist" --data fashion-mnist --data-dir "$data/fashion-mnist"
fi

python -m reproduction.publish "${folders[@]}"
python -m reproduction.page

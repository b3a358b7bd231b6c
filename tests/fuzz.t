#!/bin/sh
# The fuzz targets' properties hold for the kept corpus and for the seeds.
dir=$(mktemp -d) || exit
trap 'rm -rf "$dir"' EXIT
tests/fuzz/seeds "$dir" || exit
"${FUZZ:-build/fuzz-corpus}" "$dir"/* tests/fuzz/corpus/*

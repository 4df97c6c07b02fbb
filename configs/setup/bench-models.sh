#!/usr/bin/env bash
# Builds the models that are only measured with, from seeded weights. The demo models come from models.sh.
. "$(dirname "$0")/steps.sh"

build=configs/setup/build_bench_models.py
models=$SETUP/models
# Of the graphs that it writes: the same bytes on every machine.
RESNET50_SHA256=ca33bcfb0c21666e4ba4c0e5e19c70aa9b91875f988845b97fd6c34b044eb00d
TINY_MLP_SHA256=e9e869aa880b34f3e90733e7ad57791907e2a32749f6955bb9ba65251fe96759

[ -f "$models/resnet50.onnx" ] && [ -f "$models/tiny_mlp.onnx" ] && finished bench-models "$build" && exit 0

say "building the models that are only measured with (102 MB)"
scratch_directory
"$PYTHON" "$build" "$SCRATCH"
sha256sum --check --status <<EOF ||
$RESNET50_SHA256  $SCRATCH/resnet50.onnx
$TINY_MLP_SHA256  $SCRATCH/tiny_mlp.onnx
EOF
    fail "these graphs differ from the pinned ones: build_bench_models.py or its packages changed; update both sums if that was meant"
mkdir -p "$models"
install -m 0644 "$SCRATCH/resnet50.onnx" "$SCRATCH/tiny_mlp.onnx" "$models"
finish bench-models "$build"

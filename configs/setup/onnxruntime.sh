#!/usr/bin/env bash
# Takes ONNX Runtime's library out of its Python wheel: no package of Debian 12 carries it, and the
# library is the same whichever Python the wheel is for.
. "$(dirname "$0")/steps.sh"

pins=configs/setup/wheels/onnxruntime.txt
library=$SETUP/onnxruntime/libonnxruntime.so
[ -f "$library" ] && finished onnxruntime "$pins" && exit 0

say "fetching ONNX Runtime (24 MB)"
scratch_directory
fetch_wheels "$pins" "$SCRATCH"
"$PYTHON" -m zipfile -e "$SCRATCH"/onnxruntime-*.whl "$SCRATCH/wheel"
mkdir -p "${library%/*}"
install -m 0644 "$SCRATCH"/wheel/onnxruntime/capi/libonnxruntime.so.* "$library"
# Apache and MIT notices travel with the library they are about.
install -m 0644 "$SCRATCH"/wheel/onnxruntime/{LICENSE,ThirdPartyNotices.txt} "${library%/*}"
finish onnxruntime "$pins"

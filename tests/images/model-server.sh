#!/usr/bin/env bash
# Builds the image of a model server, FastAPI and ONNX Runtime on the layers of python-http, without running anything in
# it: target/setup/images/model-server, an OCI image layout with the tag latest.
. "$(dirname "$0")/../../configs/setup/steps.sh"

images=$SETUP/images
library=tests/images/layers.sh
. "$library"
server=tests/images/model-server
# What is below it, and what is in it.
pins="$library tests/images/build.sh configs/setup/wheels/models.txt $server/requirements.txt $server/server.py"

# shellcheck disable=SC2086
[ -f "$images/model-server/index.json" ] && finished image-model-server $pins && exit 0

tests/images/build.sh
scratch_directory
continue_image model-server python-http
root=$BUNDLE/rootfs
python=$(basename "$root"/usr/bin/python3.*)
[ "$(readlink -f "$PYTHON")" = "/usr/bin/$python" ] ||
    fail "the image has $python, and $PYTHON is another: remove target/setup/venv and $images/python-http, then make again"

say "fetching packages of an image (50 MB)"
# What Python needs for TLS, which servers load though they do not use it, and what wheels need of C++.
tls=$(apt-cache depends --important "lib$python-minimal" | sed -n 's/^ *Depends: \(libssl.*\)$/\1/p')
[ -n "$tls" ] || fail "apt knows no lib$python-minimal: run apt-get update, then make again"
download_packages "$SCRATCH/packages" "$tls" libgcc-s1 libstdc++6
unpack_packages "$root" "$tls" libgcc-s1 libstdc++6
# Where Debian's Python looks for what pip installs.
packages=$root/usr/local/lib/$python/dist-packages
"$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
    --no-compile --target "$packages" --requirement "$server/requirements.txt" ||
    fail "cannot install $server/requirements.txt: pip says why above; mend that, then run make again"
# Tools, tests and sources, and the inference library for programs in C, are a third of it all. Not each is there for
# each version of Python.
(cd "$packages" && rm -rf bin numpy/{distutils,f2py,typing} onnxruntime/{quantization,tools,transformers} \
    onnxruntime/capi/libonnxruntime.so.*)
find "$packages" \( -name tests -o -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' \) -prune -exec rm -r {} +
rm -r "$root/usr/share/doc"
# As installing inside the image would, by the same interpreter: a server that compiles all it loads starts later.
"$PYTHON" -m compileall -q -j 2 -s "$root" -p / "$packages" "$root/usr/lib/$python"
end_layer

install -D -m 0644 "$server/server.py" "$root/srv/model-server/server.py"
install -D -m 0644 "$SETUP/models/silero_vad.onnx" "$root/srv/model-server/models/silero_vad.onnx"
end_layer
configure --config.entrypoint "/usr/bin/$python" --clear=config.cmd --config.cmd /srv/model-server/server.py \
    --config.env ORT_DISABLE_TELEMETRY=1 --config.workingdir /srv/model-server
end_image
# shellcheck disable=SC2086
finish image-model-server $pins

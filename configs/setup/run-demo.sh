#!/usr/bin/env bash
# Serves three real models on 127.0.0.1:8080 in the foreground and says what to try. Ctrl-C ends all.
. "$(dirname "$0")/steps.sh"

TRANSCRIPT=docs/examples/transcript.txt

# Passes the daemon's messages on and, once it is ready, shows the commands of the transcript.
announce() {
    # The daemon drains on Ctrl-C and still has things to say; the terminal signals both.
    trap '' INT
    while IFS= read -r line; do
        printf '%s\n' "$line"
        [ "$line" != ready ] || show_commands
    done
}

show_commands() {
    printf '\nThree models are deployed and none is running; the first call wakes one. In another terminal:\n\n'
    printf '  cd %q\n' "$REPOSITORY"
    sed -n 's/^\$ /  /p' "$TRANSCRIPT"
    printf '\nCtrl-C stops everything.\n'
}

exec target/release/dormouse serve \
    "$SETUP/models/silero_vad.onnx" "$SETUP/models/magika.onnx" "$SETUP/models/minilm.onnx" \
    --listen 127.0.0.1:8080 2> >(announce >&2)

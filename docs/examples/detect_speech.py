"""When does somebody speak in a recording (WAV, 16 kHz, mono, 16 bit)?

    detect_speech.py FILE [SECONDS]
"""

import array
import sys
import wave

from v2 import infer, tensor

RATE, CHUNK, CONTEXT = 16_000, 512, 64  # samples: the model hears 32 ms and the 4 ms before

path, seconds = sys.argv[1], float((sys.argv + ["10"])[2])
with wave.open(path) as recording:
    samples = array.array("h", recording.readframes(int(seconds * RATE)))

heard, state, spoken = [0.0] * CONTEXT, [0.0] * 256, []
for begin in range(0, len(samples) - CHUNK + 1, CHUNK):
    heard = heard[-CONTEXT:] + [sample / 32768 for sample in samples[begin : begin + CHUNK]]
    answer = infer(
        "silero-vad",
        tensor("input", "FP32", [1, CONTEXT + CHUNK], heard),
        tensor("state", "FP32", [2, 1, 128], state),
        tensor("sr", "INT64", [], [RATE]),
    )
    state = answer["stateN"]
    spoken.append(answer["output"][0] >= 0.5)

changes = [i for i, (a, b) in enumerate(zip([False] + spoken, spoken + [False])) if a != b]
for begin, end in zip(changes[::2], changes[1::2]):
    print(f"speech from {begin * CHUNK / RATE:.1f} s to {end * CHUNK / RATE:.1f} s")

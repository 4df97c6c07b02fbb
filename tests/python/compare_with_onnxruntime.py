"""Compares answers over HTTP with ONNX Runtime in this process, on the same seeded inputs.

Usage: compare_with_onnxruntime.py BASE_URL NAME=MODEL.onnx...

BASE_URL serves the V2 protocol (a gateway, or one bare worker), NAME is the model's name there. The client is
tritonclient, unmodified, once with JSON tensors and once with binary ones. Prints one line for each model and mode;
exits with 1 if any answer differs.
"""

import os
import sys

import numpy as np

# Before the import: this library starts its telemetry as soon as it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # noqa: E402
import tritonclient.http as triton  # noqa: E402
from tritonclient.utils import InferenceServerException, np_to_triton_dtype  # noqa: E402

SEED = 20240607
ROUNDS = 3

# Sizes given to the dimensions that a model leaves open, one for each round: a batch of 1, and larger.
DYNAMIC_SIZES = [1, 2, 3]

# Both sides run the same library on the same machine; what may differ is the number of threads it splits work over.
RELATIVE_TOLERANCE = 1e-5
ABSOLUTE_TOLERANCE = 1e-6

# Models whose inputs mean something; without an entry inputs are uniform noise.
WINDOW_SAMPLES = 576
SAMPLE_RATE_HZ = 16000
BYTE_VALUES_END = 257
VOCABULARY_END = 30522
TOKENS = 12


def silero_vad(rng, size):
    return {
        "input": rng.uniform(-0.5, 0.5, (size, WINDOW_SAMPLES)).astype(np.float32),
        "state": rng.uniform(-0.1, 0.1, (2, size, 128)).astype(np.float32),
        "sr": np.array(SAMPLE_RATE_HZ, dtype=np.int64),
    }


def magika(rng, size):
    return {"bytes": rng.integers(0, BYTE_VALUES_END, (size, 2048)).astype(np.int32)}


def minilm(rng, size):
    mask = np.ones((size, TOKENS), dtype=np.int64)
    mask[-1, TOKENS // 2 :] = 0
    return {"input_ids": rng.integers(0, VOCABULARY_END, (size, TOKENS)).astype(np.int64), "attention_mask": mask}


KNOWN_INPUTS = [silero_vad, magika, minilm]

NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


def noise(session, rng, size):
    inputs = {}
    for spec in session.get_inputs():
        shape = [dim if isinstance(dim, int) else size for dim in spec.shape]
        inputs[spec.name] = rng.uniform(0, 2, shape).astype(NUMPY_TYPES[spec.type])
    return inputs


def make_inputs(session, rng, size):
    names = {spec.name for spec in session.get_inputs()}
    for make in KNOWN_INPUTS:
        inputs = make(rng, size)
        if set(inputs) == names:
            return inputs
    return noise(session, rng, size)


def to_tensors(inputs, binary):
    tensors = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=binary)
        tensors.append(tensor)
    return tensors


def infer(client, name, inputs, outputs, binary):
    wanted = [triton.InferRequestedOutput(output, binary_data=binary) for output in outputs]
    result = client.infer(name, to_tensors(inputs, binary), outputs=wanted)
    return [result.as_numpy(output) for output in outputs]


def compare(client, name, path, binary):
    """Returns the number of compared values and the largest difference; raises AssertionError on a mismatch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs = [spec.name for spec in session.get_outputs()]
    rng = np.random.default_rng(SEED)
    compared, largest = 0, 0.0
    for round_number in range(ROUNDS):
        inputs = make_inputs(session, rng, DYNAMIC_SIZES[round_number % len(DYNAMIC_SIZES)])
        expected = session.run(outputs, inputs)
        answered = infer(client, name, inputs, outputs, binary)
        for output, want, got in zip(outputs, expected, answered):
            assert got is not None, f"output {output} is missing"
            assert got.dtype == want.dtype, f"output {output}: {got.dtype} instead of {want.dtype}"
            np.testing.assert_allclose(
                got, want, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, err_msg=f"output {output}"
            )
            compared += want.size
            if want.size:
                difference = np.abs(got.astype(np.float64) - want.astype(np.float64)).max()
                largest = max(largest, float(difference))
    return compared, largest


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    url = sys.argv[1].removeprefix("http://").rstrip("/")
    client = triton.InferenceServerClient(url, connection_timeout=120, network_timeout=120)
    failed = False
    for argument in sys.argv[2:]:
        name, _, path = argument.partition("=")
        for mode, binary in (("json", False), ("binary", True)):
            try:
                compared, largest = compare(client, name, path, binary)
                print(f"{name:12} {mode:6} equal: {compared} values, largest difference {largest:.1e}")
            except (AssertionError, InferenceServerException) as error:
                failed = True
                print(f"{name:12} {mode:6} DIFFERENT: {error}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

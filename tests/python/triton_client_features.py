"""Walks through what tritonclient can ask of a server, against the identity fixtures.

Usage: triton_client_features.py NAME=BASE_URL...

NAME is one of identity, identity_bytes, identity_fp16, identity_bf16 and non_finite. Prints one line a model; exits
with 1 at the first surprise.
"""

import sys

import ml_dtypes
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype

INTEGERS = [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64]


def tensor(name, array, binary):
    result = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    result.set_data_from_numpy(array, binary_data=binary)
    return result


def infer(client, model, tensors, binary, **options):
    names = [t.name().replace("IN_", "OUT_") for t in tensors]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    result = client.infer(model, tensors, outputs=outputs, **options)
    return [result.as_numpy(name) for name in names]


def equal(got, want):
    assert got.dtype == want.dtype and got.shape == want.shape, (got.dtype, got.shape, want.dtype, want.shape)
    np.testing.assert_array_equal(got, want)


def identity(client):
    arrays = [np.array([np.iinfo(t).min, np.iinfo(t).max], dtype=t) for t in INTEGERS]
    arrays += [np.array([0.1, -3e38], dtype=np.float32), np.array([0.1, -1e300]), np.array([True, False])]
    for binary in (False, True):
        for coding in (None, "gzip", "deflate"):
            tensors = [tensor(f"IN_{np_to_triton_dtype(a.dtype)}", a, binary) for a in arrays]
            answers = infer(
                client,
                "identity",
                tensors,
                binary,
                request_compression_algorithm=coding,
                response_compression_algorithm=coding,
                request_id="7",
            )
            for got, want in zip(answers, arrays):
                equal(got, want)


def identity_bytes(client):
    array = np.array(["", "häm", "x" * 1000], dtype=np.object_)
    for binary in (False, True):
        (got,) = infer(client, "identity_bytes", [tensor("IN_BYTES", array, binary)], binary)
        assert [g.decode() if isinstance(g, bytes) else g for g in got] == list(array), got


def identity_fp16(client):
    array = np.array([0.5, -65504, np.inf], dtype=np.float16)
    (got,) = infer(client, "identity_fp16", [tensor("IN_FP16", array, True)], True)
    equal(got, array)


def identity_bf16(client):
    array = np.array([0.5, -2.0, 1e30], dtype=ml_dtypes.bfloat16)
    (got,) = infer(client, "identity_bf16", [tensor("IN_BF16", array, True)], True)
    equal(got, array)


def non_finite(client):
    tensors = [tensor(name, np.array(v, dtype=np.float32), False) for name, v in (("x", [1, -1, 0]), ("y", [0, 0, 0]))]
    for binary in (False, True):
        outputs = [triton.InferRequestedOutput("quotient", binary_data=binary)]
        got = client.infer("non_finite", tensors, outputs=outputs).as_numpy("quotient")
        equal(got, np.array([np.inf, -np.inf, np.nan], dtype=np.float32))


CHECKS = {check.__name__: check for check in (identity, identity_bytes, identity_fp16, identity_bf16, non_finite)}


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for argument in sys.argv[1:]:
        name, _, url = argument.partition("=")
        client = triton.InferenceServerClient(url.removeprefix("http://").rstrip("/"))
        metadata = client.get_model_metadata(name)
        assert metadata["platform"] == "onnx_onnxv1", metadata
        assert client.is_model_ready(name)
        CHECKS[name](client)
        print(f"{name}: as expected")


if __name__ == "__main__":
    main()

"""Asks a model server in an image what tritonclient can ask, and the built-in worker, which has the same model.

Usage: model_server_client.py BASE_URL SERVER WORKER

SERVER and WORKER name the two endpoints. Each line of standard input is one of the checks below; it is done then, and a
line says what came of it.
"""

import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from compare_with_onnxruntime import ABSOLUTE_TOLERANCE, KNOWN_INPUTS, RELATIVE_TOLERANCE, SEED, infer, to_tensors

# More than one replica of either takes at a time.
CONCURRENT = 16
TIMEOUT_S = 60


class Pair:
    def __init__(self, url, server, worker):
        options = {"concurrency": CONCURRENT, "connection_timeout": TIMEOUT_S, "network_timeout": TIMEOUT_S}
        self.client = triton.InferenceServerClient(url.removeprefix("http://"), **options)
        self.server, self.worker = server, worker
        # Paths that name no model are an image's by its host alone.
        self.host = {"Host": f"{server}.example.com"}
        metadata = self.client.get_model_metadata(worker)
        self.outputs = [output["name"] for output in metadata["outputs"]]
        names = {tensor["name"] for tensor in metadata["inputs"]}
        self.rng = np.random.default_rng(SEED)
        self.make = next(make for make in KNOWN_INPUTS if set(make(self.rng, 1)) == names)

    def expected(self, inputs):
        return infer(self.client, self.worker, inputs, self.outputs, True)


def equal(got, want):
    assert (got.dtype, got.shape) == (want.dtype, want.shape), (got.dtype, got.shape, want.dtype, want.shape)
    np.testing.assert_allclose(got, want, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE)


def inference(pair):
    for size in (1, 3):
        inputs = pair.make(pair.rng, size)
        # The server first: it may be the request that wakes it.
        answers = [infer(pair.client, pair.server, inputs, pair.outputs, binary) for binary in (True, False)]
        # Its own defaults: all outputs, and binary.
        result = pair.client.infer(pair.server, to_tensors(inputs, True), request_id="7")
        assert result.get_response()["id"] == "7", result.get_response()
        answers.append([result.as_numpy(output) for output in pair.outputs])
        for answer in answers:
            for got, want in zip(answer, pair.expected(inputs)):
                equal(got, want)


def description(pair):
    client = pair.client
    assert client.is_server_live(headers=pair.host) and client.is_server_ready(headers=pair.host)
    assert client.get_server_metadata(headers=pair.host)["name"] == "model-server"
    assert client.is_model_ready(pair.server) and not client.is_model_ready("nobody", headers=pair.host)
    ours, theirs = (client.get_model_metadata(name) for name in (pair.worker, pair.server))
    for key in ("inputs", "outputs"):
        assert theirs[key] == ours[key], (theirs, ours)


def concurrency(pair):
    batches = [pair.make(pair.rng, 1) for _ in range(CONCURRENT)]
    under_way = [pair.client.async_infer(pair.server, to_tensors(inputs, True)) for inputs in batches]
    for inputs, call in zip(batches, under_way):
        result = call.get_result()
        for output, want in zip(pair.outputs, pair.expected(inputs)):
            equal(result.as_numpy(output), want)


def refusal(pair):
    def refused(status, words, model, inputs):
        try:
            pair.client.infer(model, to_tensors(inputs, True), headers=pair.host)
        except InferenceServerException as error:
            assert error.status() == status and words in error.message(), (error.status(), error.message())
        else:
            raise AssertionError(f"{words}: not refused")

    good = pair.make(pair.rng, 1)
    refused("404", f"there is no model nobody, but {pair.server}", "nobody", good)
    flat = {name: array.reshape(-1) for name, array in good.items()}
    refused("400", "Invalid rank for input", pair.server, flat)


CHECKS = {check.__name__: check for check in (inference, description, concurrency, refusal)}


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    pair = Pair(*sys.argv[1:])
    for line in sys.stdin:
        name = line.strip()
        try:
            CHECKS[name](pair)
            print(f"{name}: as expected", flush=True)
        except (AssertionError, InferenceServerException) as error:
            print(f"{name}: {error!r} {error}".replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()

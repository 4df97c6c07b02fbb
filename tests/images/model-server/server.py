"""A model server as people write them: the Open Inference Protocol V2 for one ONNX model, in JSON and with the binary
tensor data extension.

The model is the .onnx file in /mnt/models, where KServe puts what STORAGE_URI names, else the one in the image. It is
called MODEL_NAME, else as the service is.
"""

import json
import os
import pathlib

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from pydantic import BaseModel, ValidationError

PLACES = [pathlib.Path("/mnt/models"), pathlib.Path(__file__).parent / "models"]
NAME = os.environ.get("MODEL_NAME") or os.environ["K_SERVICE"]
JSON_LENGTH = "inference-header-content-length"

# How ONNX Runtime, the protocol and NumPy call the types.
TYPES = [
    ("tensor(bool)", "BOOL", np.bool_),
    ("tensor(uint8)", "UINT8", np.uint8),
    ("tensor(int8)", "INT8", np.int8),
    ("tensor(int32)", "INT32", np.int32),
    ("tensor(int64)", "INT64", np.int64),
    ("tensor(float16)", "FP16", np.float16),
    ("tensor(float)", "FP32", np.float32),
    ("tensor(double)", "FP64", np.float64),
]
DATATYPES = {onnx: datatype for onnx, datatype, _ in TYPES}
DTYPES = {datatype: np.dtype(dtype) for _, datatype, dtype in TYPES}


class Refused(Exception):
    def __init__(self, status, error):
        super().__init__(error)
        self.status = status


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict = {}
    data: list | None = None


class Output(BaseModel):
    name: str
    parameters: dict = {}


class Inference(BaseModel):
    id: str | None = None
    parameters: dict = {}
    inputs: list[Tensor]
    outputs: list[Output] = []


def load():
    model = next(model for place in PLACES for model in sorted(place.glob("*.onnx")))
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


session = load()
app = FastAPI()


@app.exception_handler(Refused)
async def refused(_, error):
    return JSONResponse({"error": str(error)}, error.status)


def check_name(name):
    if name != NAME:
        raise Refused(404, f"there is no model {name}, but {NAME}")


@app.get("/v2")
async def server():
    return {"name": "model-server", "version": "1", "extensions": ["binary_tensor_data"]}


@app.get("/v2/health/live")
async def live():
    return {"live": True}


@app.get("/v2/health/ready")
async def ready():
    return {"ready": True}


@app.get("/v2/models/{name}")
async def model(name: str):
    check_name(name)

    def describe(tensors):
        shapes = ([size if isinstance(size, int) else -1 for size in tensor.shape] for tensor in tensors)
        return [{"name": t.name, "datatype": DATATYPES[t.type], "shape": shape} for t, shape in zip(tensors, shapes)]

    inputs, outputs = describe(session.get_inputs()), describe(session.get_outputs())
    return {"name": NAME, "versions": ["1"], "platform": "onnxruntime_onnx", "inputs": inputs, "outputs": outputs}


@app.get("/v2/models/{name}/ready")
async def model_ready(name: str):
    check_name(name)
    return {"name": NAME, "ready": True}


@app.post("/v2/models/{name}/infer")
async def infer(name: str, request: Request):
    check_name(name)
    inference, feeds = parse(await request.body(), request.headers.get(JSON_LENGTH))
    known = [output.name for output in session.get_outputs()]
    wanted = inference.outputs or [Output(name=output) for output in known]
    for output in wanted:
        if output.name not in known:
            raise Refused(400, f"there is no output {output.name}")
    try:
        arrays = await run_in_threadpool(session.run, [output.name for output in wanted], feeds)
    except (InvalidArgument, ValueError) as error:
        raise Refused(400, str(error)) from error
    return encode(inference, wanted, arrays)


def parse(body, json_length):
    """The request and the arrays that it brings, in its JSON or after it."""
    try:
        end = len(body) if json_length is None else int(json_length)
        inference = Inference.model_validate_json(body[:end])
    except (ValidationError, ValueError) as error:
        raise Refused(400, f"no request of the protocol: {error}") from error
    feeds, at = {}, end
    for tensor in inference.inputs:
        size = tensor.parameters.get("binary_data_size")
        feeds[tensor.name] = decode(tensor, None if size is None else body[at : at + size])
        at += size or 0
    return inference, feeds


def decode(tensor, data):
    try:
        dtype = DTYPES[tensor.datatype]
        array = np.array(tensor.data or [], dtype) if data is None else np.frombuffer(data, dtype)
        return array.reshape(tensor.shape)
    except (KeyError, ValueError, OverflowError) as error:
        message = f"input {tensor.name} is no {tensor.datatype} of shape {tensor.shape}: {error}"
        raise Refused(400, message) from error


def encode(inference, wanted, arrays):
    outputs, blobs = [], []
    for output, array in zip(wanted, arrays):
        datatype = next(datatype for datatype, dtype in DTYPES.items() if dtype == array.dtype)
        told = {"name": output.name, "datatype": datatype, "shape": list(array.shape)}
        if output.parameters.get("binary_data", inference.parameters.get("binary_data_output", False)):
            blobs.append(array.tobytes())
            told["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            told["data"] = array.ravel().tolist()
        outputs.append(told)
    answer = {"model_name": NAME, "model_version": "1", "outputs": outputs}
    if inference.id:
        answer["id"] = inference.id
    head = json.dumps(answer).encode()
    if not blobs:
        return Response(head, media_type="application/json")
    headers = {JSON_LENGTH: str(len(head))}
    return Response(head + b"".join(blobs), media_type="application/octet-stream", headers=headers)


if __name__ == "__main__":
    uvicorn.run(app, host="0.0.0.0", port=int(os.environ.get("PORT", "8080")))

"""The Open Inference Protocol in a few lines: one POST of JSON, one JSON answer."""

import http.client
import json
import os
import urllib.parse

URL = os.environ.get("DORMOUSE_URL", "http://127.0.0.1:8080")
# One connection for all requests of an example.
connection = http.client.HTTPConnection(urllib.parse.urlsplit(URL).netloc)


def tensor(name, datatype, shape, data):
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def infer(model, *inputs):
    """The outputs by name, each a flat list of numbers."""
    try:
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": inputs}))
        answer = json.load(connection.getresponse())
    except OSError as error:
        raise SystemExit(f"{URL} does not answer ({error}): is `make run` ready?") from error
    if "error" in answer:
        raise SystemExit(f"{URL} answered: {answer['error']}")
    return {output["name"]: output["data"] for output in answer["outputs"]}

"""Builds the ONNX graph of all-MiniLM-L6-v2 from its published weights.

    build_minilm.py model.safetensors minilm.onnx

Sentences in, unit vectors out: input_ids and attention_mask, both i64[batch, seq], become
sentence_embedding, f32[batch, 384], the mean of the last layer over the tokens that the mask
keeps, divided by its length. The same weights always give the same bytes.
"""

import json
import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

LAYERS, HEADS, HIDDEN = 6, 12, 384
HEAD = HIDDEN // HEADS
LAYER_NORM_EPSILON = 1e-12
MASKED = -1e9  # added to the score of a padding token: its share of attention becomes 0
OPSET, IR_VERSION = 17, 8


def read_safetensors(path):
    """Name to array. The format: u64 header length, a JSON header, then the raw tensors."""
    raw = np.fromfile(path, dtype=np.uint8)
    header_end = 8 + int(raw[:8].view("<u8")[0])
    header = json.loads(raw[8:header_end].tobytes())
    header.pop("__metadata__", None)
    dtypes = {"F32": "<f4", "I64": "<i8"}
    tensors = {}
    for name, entry in header.items():
        begin, end = (header_end + offset for offset in entry["data_offsets"])
        tensors[name] = raw[begin:end].view(dtypes[entry["dtype"]]).reshape(entry["shape"])
    return tensors


class Graph:
    """Collects nodes and constants; each method adds one step and returns its output's name."""

    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], {}

    def constant(self, name, value):
        self.constants[name] = np.array(value, order="C")
        return name

    def add(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def linear(self, x, name):
        """x · Wᵀ + b, the transposition done here, once."""
        weight = self.constant(f"{name}.weight", self.weights[f"{name}.weight"].T)
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.add("Add", [self.add("MatMul", [x, weight], f"{name}.product"), bias], name)

    def layer_norm(self, x, name):
        scale = self.constant(f"{name}.weight", self.weights[f"{name}.weight"])
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.add("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def heads(self, x, name, order):
        """[batch, seq, hidden] to one matrix a head."""
        split = self.add("Reshape", [x, "heads_shape"], f"{name}.split")
        return self.add("Transpose", [split], f"{name}.heads", perm=order)


def embeddings(g):
    words = g.constant("embeddings.words", g.weights["embeddings.word_embeddings.weight"])
    # Every token has type 0, so that row is part of the position.
    positions = g.constant(
        "embeddings.positions",
        g.weights["embeddings.position_embeddings.weight"] + g.weights["embeddings.token_type_embeddings.weight"][0],
    )
    shape = g.add("Shape", ["input_ids"], "ids_shape")
    length = g.add("Gather", [shape, g.constant("one", np.int64(1))], "sequence_length")
    index = g.add("Range", [g.constant("zero", np.int64(0)), length, "one"], "position_ids")
    word = g.add("Gather", [words, "input_ids"], "word_embedding")
    position = g.add("Gather", [positions, index], "position_embedding")
    return g.layer_norm(g.add("Add", [word, position], "embedding"), "embeddings.LayerNorm")


def attention_bias(g):
    """[batch, 1, 1, seq]: 0 for a token, MASKED for padding."""
    g.add("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    absent = g.add("Sub", [g.constant("one_f", np.float32(1)), "mask"], "mask_absent")
    scaled = g.add("Mul", [absent, g.constant("masked", np.float32(MASKED))], "mask_scaled")
    return g.add("Unsqueeze", [scaled, g.constant("mask_axes", np.array([1, 2]))], "attention_bias")


def encoder_layer(g, x, name, bias):
    attention = f"{name}.attention"
    query = g.heads(g.linear(x, f"{attention}.self.query"), f"{attention}.query", [0, 2, 1, 3])
    key = g.heads(g.linear(x, f"{attention}.self.key"), f"{attention}.key", [0, 2, 3, 1])
    value = g.heads(g.linear(x, f"{attention}.self.value"), f"{attention}.value", [0, 2, 1, 3])
    scores = g.add("MatMul", [query, key], f"{attention}.scores")
    scaled = g.add("Mul", [scores, "head_scale"], f"{attention}.scaled")
    masked = g.add("Add", [scaled, bias], f"{attention}.masked")
    shares = g.add("Softmax", [masked], f"{attention}.shares", axis=-1)
    mixed = g.add("MatMul", [shares, value], f"{attention}.mixed")
    ordered = g.add("Transpose", [mixed], f"{attention}.ordered", perm=[0, 2, 1, 3])
    merged = g.add("Reshape", [ordered, "hidden_shape"], f"{attention}.merged")
    projected = g.linear(merged, f"{attention}.output.dense")
    x = g.layer_norm(g.add("Add", [projected, x], f"{attention}.residual"), f"{attention}.output.LayerNorm")
    wide = gelu(g, g.linear(x, f"{name}.intermediate.dense"), f"{name}.gelu")
    narrow = g.linear(wide, f"{name}.output.dense")
    return g.layer_norm(g.add("Add", [narrow, x], f"{name}.residual"), f"{name}.output.LayerNorm")


def gelu(g, x, name):
    """x/2 · (1 + erf(x/√2))."""
    erf = g.add("Erf", [g.add("Div", [x, "sqrt_two"], f"{name}.scaled")], f"{name}.erf")
    gate = g.add("Add", [erf, "one_f"], f"{name}.gate")
    return g.add("Mul", [g.add("Mul", [x, gate], f"{name}.gated"), "half"], name)


def mean_of_tokens(g, x):
    axis = g.constant("last_axis", np.array([-1]))
    token_axis = g.constant("token_axis", np.array([1]))
    mask = g.add("Unsqueeze", ["mask", axis], "token_mask")
    kept = g.add("Mul", [x, mask], "kept_tokens")
    total = g.add("ReduceSum", [kept, token_axis], "token_sum", keepdims=0)
    count = g.add("ReduceSum", [mask, token_axis], "token_count", keepdims=0)
    # A sentence without tokens must not divide by zero.
    at_least = g.add("Max", [count, g.constant("tiny", np.float32(1e-9))], "token_count_positive")
    return g.add("Div", [total, at_least], "mean")


def build(weights):
    g = Graph(weights)
    g.constant("heads_shape", np.array([0, 0, HEADS, HEAD]))
    g.constant("hidden_shape", np.array([0, 0, HIDDEN]))
    g.constant("head_scale", np.float32(1 / np.sqrt(HEAD)))
    g.constant("sqrt_two", np.float32(np.sqrt(2)))
    g.constant("half", np.float32(0.5))
    bias = attention_bias(g)
    x = embeddings(g)
    for layer in range(LAYERS):
        x = encoder_layer(g, x, f"encoder.layer.{layer}", bias)
    g.add("LpNormalization", [mean_of_tokens(g, x)], "sentence_embedding", axis=-1, p=2)

    tokens = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "seq"]) for n in ("input_ids", "attention_mask")]
    embedding = helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", HIDDEN])
    constants = [numpy_helper.from_array(value, name) for name, value in g.constants.items()]
    graph = helper.make_graph(g.nodes, "all-MiniLM-L6-v2", tokens, [embedding], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def main(weights_path, graph_path):
    model = build(read_safetensors(weights_path))
    checker.check_model(model)
    with open(graph_path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

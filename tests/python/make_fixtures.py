"""Makes the ONNX models in tests/fixtures. Deterministic: the same onnx release gives the same bytes.

Usage: make_fixtures.py [DIRECTORY]     (default: tests/fixtures beside this script)
"""

import pathlib
import shutil
import sys

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

# V2 datatype -> ONNX element type.
DATATYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def value(name, element_type, shape):
    return helper.make_tensor_value_info(name, element_type, shape)


def constant(name, element_type, dims, values):
    return helper.make_tensor(name, element_type, dims, values)


def model(name, nodes, inputs, outputs, initializers=(), opset=OPSET):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initializers))
    return helper.make_model(
        graph,
        producer_name="dormouse",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_operatorsetid("", opset)],
    )


def identity(name, datatypes, shape):
    """One input and one output for each datatype, IN_<type> -> OUT_<type>."""
    nodes, inputs, outputs = [], [], []
    for datatype in datatypes:
        element_type = DATATYPES[datatype]
        nodes.append(helper.make_node("Identity", [f"IN_{datatype}"], [f"OUT_{datatype}"]))
        inputs.append(value(f"IN_{datatype}", element_type, shape))
        outputs.append(value(f"OUT_{datatype}", element_type, shape))
    return model(name, nodes, inputs, outputs)


def scalar():
    """scale (scalar) * x[3] -> y[3], and the scalar itself -> echo."""
    return model(
        "scalar",
        [
            helper.make_node("Mul", ["x", "scale"], ["y"]),
            helper.make_node("Identity", ["scale"], ["echo"]),
        ],
        [value("x", TensorProto.FLOAT, [3]), value("scale", TensorProto.FLOAT, [])],
        [value("y", TensorProto.FLOAT, [3]), value("echo", TensorProto.FLOAT, [])],
    )


def dynamic():
    """a[batch, n] + b[batch, n] -> sum[batch, n] and total[batch]."""
    return model(
        "dynamic",
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("ReduceSum", ["sum", "axis"], ["total"], keepdims=0),
        ],
        [value("a", TensorProto.FLOAT, ["batch", "n"]), value("b", TensorProto.FLOAT, ["batch", "n"])],
        [value("sum", TensorProto.FLOAT, ["batch", "n"]), value("total", TensorProto.FLOAT, ["batch"])],
        [constant("axis", TensorProto.INT64, [1], [1])],
    )


def non_finite():
    """x / y, so that 1/0, -1/0 and 0/0 make Infinity, -Infinity and NaN."""
    return model(
        "non_finite",
        [helper.make_node("Div", ["x", "y"], ["quotient"])],
        [value("x", TensorProto.FLOAT, ["n"]), value("y", TensorProto.FLOAT, ["n"])],
        [value("quotient", TensorProto.FLOAT, ["n"])],
    )


def external():
    """x[4] @ weights[4, 3] -> y[3], the weights in a file beside the model."""
    weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "weights")
    result = model(
        "external",
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        [value("x", TensorProto.FLOAT, [4])],
        [value("y", TensorProto.FLOAT, [3])],
        [weights],
    )
    external_data_helper.convert_model_to_external_data(result, location="weights.bin", size_threshold=0)
    return result


def slow():
    """Runs a loop `iterations` times, each multiplying a matrix with itself, then answers the count.

    Roughly 0.06 ms an iteration: "a reply that takes as long as the request asks for". The session checks between
    operators whether it shall end.
    """
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["matrix", "matrix"], ["product"]),
            helper.make_node("Mul", ["product", "shrink"], ["next_matrix"]),
            helper.make_node("Add", ["count", "one"], ["next_count"]),
            helper.make_node("Identity", ["keep_going"], ["still_going"]),
        ],
        "iteration",
        [
            value("step", TensorProto.INT64, []),
            value("keep_going", TensorProto.BOOL, []),
            value("count", TensorProto.INT64, []),
            value("matrix", TensorProto.FLOAT, [128, 128]),
        ],
        [
            value("still_going", TensorProto.BOOL, []),
            value("next_count", TensorProto.INT64, []),
            value("next_matrix", TensorProto.FLOAT, [128, 128]),
        ],
        [constant("one", TensorProto.INT64, [], [1]), constant("shrink", TensorProto.FLOAT, [], [1 / 128])],
    )
    return model(
        "slow",
        [
            helper.make_node("Expand", ["unit", "side"], ["start"]),
            helper.make_node("Loop", ["iterations", "forever", "zero", "start"], ["done", "last"], body=body),
        ],
        [value("iterations", TensorProto.INT64, [])],
        [value("done", TensorProto.INT64, [])],
        [
            constant("unit", TensorProto.FLOAT, [], [1.0]),
            constant("side", TensorProto.INT64, [2], [128, 128]),
            constant("forever", TensorProto.BOOL, [], [True]),
            constant("zero", TensorProto.INT64, [], [0]),
        ],
    )


def memory():
    """Fills `mebibytes` MiB of memory with ones and answers their sum."""
    return model(
        "memory",
        [
            helper.make_node("Mul", ["mebibytes", "floats"], ["elements"]),
            helper.make_node("ConstantOfShape", ["elements"], ["filled"], value=constant("v", TensorProto.FLOAT, [1], [1.0])),
            helper.make_node("ReduceSum", ["filled"], ["total"], keepdims=0),
        ],
        [value("mebibytes", TensorProto.INT64, [1])],
        [value("total", TensorProto.FLOAT, [])],
        [constant("floats", TensorProto.INT64, [1], [1024 * 1024 // 4])],
    )


def random():
    """x[3] plus noise that is another each time."""
    return model(
        "random",
        [helper.make_node("RandomNormalLike", ["x"], ["noise"]), helper.make_node("Add", ["x", "noise"], ["y"])],
        [value("x", TensorProto.FLOAT, [3])],
        [value("y", TensorProto.FLOAT, [3])],
    )


def picky():
    """x[7] as it is; any other length is refused, which its signature does not tell."""
    return model(
        "picky",
        [helper.make_node("Reshape", ["x", "seven"], ["y"])],
        [value("x", TensorProto.FLOAT, ["n"])],
        [value("y", TensorProto.FLOAT, [7])],
        [constant("seven", TensorProto.INT64, [1], [7])],
    )


def unfolding():
    """x[1] plus a constant that a few bytes describe and that takes 64 MiB once it is computed ahead."""
    return model(
        "unfolding",
        [
            helper.make_node("Expand", ["one", "large"], ["ones"]),
            helper.make_node("Add", ["x", "ones"], ["sums"]),
            helper.make_node("ReduceSum", ["sums"], ["y"], keepdims=0),
        ],
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [])],
        [constant("one", TensorProto.FLOAT, [1], [1.0]), constant("large", TensorProto.INT64, [1], [16 << 20])],
    )


def sequence():
    """A model that answers a sequence, which the V2 protocol cannot carry."""
    return model(
        "sequence",
        [helper.make_node("SequenceConstruct", ["x"], ["list"])],
        [value("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, [1])],
    )


def unsupported_op():
    return model(
        "unsupported_op",
        [helper.make_node("NoSuchOperator", ["x"], ["y"])],
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    directory.mkdir(parents=True, exist_ok=True)
    wide = [datatype for datatype in DATATYPES if datatype not in ("FP16", "BF16", "BYTES")]
    models = {
        "identity": identity("identity", wide, ["n"]),
        "identity_matrix": identity("identity_matrix", ["FP32"], ["rows", 2]),
        "identity_fp16": identity("identity_fp16", ["FP16"], ["n"]),
        "identity_bf16": identity("identity_bf16", ["BF16"], ["n"]),
        "identity_bytes": identity("identity_bytes", ["BYTES"], ["n"]),
        "scalar": scalar(),
        "dynamic": dynamic(),
        "non_finite": non_finite(),
        "slow": slow(),
        "memory": memory(),
        "random": random(),
        "picky": picky(),
        "unfolding": unfolding(),
        "sequence": sequence(),
        "unsupported_op": unsupported_op(),
        "unsupported_opset": model(
            "unsupported_opset",
            [helper.make_node("Relu", ["x"], ["y"])],
            [value("x", TensorProto.FLOAT, [1])],
            [value("y", TensorProto.FLOAT, [1])],
            opset=999,
        ),
    }
    for name, made in models.items():
        (directory / f"{name}.onnx").write_bytes(made.SerializeToString(deterministic=True))
    whole = models["dynamic"].SerializeToString(deterministic=True)
    (directory / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    (directory / "corrupt.onnx").write_bytes(b"this is no ONNX model\n")
    save_external(directory / "external")


def save_external(directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    onnx.save_model(external(), directory / "model.onnx")
    # onnx makes the data readable for its owner only, but a worker reads it as somebody else.
    (directory / "weights.bin").chmod(0o644)


if __name__ == "__main__":
    main()

"""Builds the models that are only measured with, from seeded weights.

    build_bench_models.py DIRECTORY

tiny_mlp.onnx: f32[batch, 16] → 32 → f32[batch, 4]. resnet50.onnx: the shape of ResNet-50, f32[batch, 3, 224, 224]
→ f32[batch, 1000], with the batch normalisations that published ones carry. What they answer means nothing; what
they cost is that of the real ones. The same bytes on every machine: weights are drawn by integer arithmetic and
scaled by numbers that every processor rounds alike.
"""

import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

SEED = 20240229
OPSET, IR_VERSION = 17, 8
STAGES = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]  # width, blocks, stride of the first
EXPANSION = 4
CLASSES = 1000


class Graph:
    """Collects nodes and weights; each method adds one step and returns its output's name."""

    def __init__(self):
        self.random = np.random.Generator(np.random.PCG64(SEED))
        self.nodes, self.weights = [], []

    def uniform(self, name, shape, low, high):
        drawn = self.random.random(shape, dtype=np.float32) * np.float32(high - low) + np.float32(low)
        self.weights.append(numpy_helper.from_array(drawn, name))
        return name

    def add(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def linear(self, x, name, inputs, outputs):
        bound = float(np.sqrt(3.0 / inputs))
        weight = self.uniform(f"{name}.weight", (outputs, inputs), -bound, bound)
        bias = self.uniform(f"{name}.bias", (outputs,), -0.1, 0.1)
        return self.add("Gemm", [x, weight, bias], name, transB=1)

    def convolution(self, x, name, inputs, outputs, kernel, stride):
        """With its batch normalisation."""
        bound = float(np.sqrt(6.0 / (inputs * kernel * kernel)))
        weight = self.uniform(f"{name}.weight", (outputs, inputs, kernel, kernel), -bound, bound)
        padding = [kernel // 2] * 4
        out = self.add("Conv", [x, weight], f"{name}.conv", kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=padding)
        ranges = {"scale": (0.4, 0.8), "shift": (-0.1, 0.1), "mean": (-0.1, 0.1), "variance": (0.8, 1.2)}
        statistics = [self.uniform(f"{name}.{key}", (outputs,), *bounds) for key, bounds in ranges.items()]
        return self.add("BatchNormalization", [out, *statistics], name)

    def relu(self, x):
        return self.add("Relu", [x], f"{x}.relu")

    def model(self, name, inputs, output):
        vi = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, name, [vi(*inputs)], [vi(*output)], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def tiny_mlp():
    g = Graph()
    hidden = g.relu(g.linear("x", "hidden", 16, 32))
    g.add("Identity", [g.linear(hidden, "out", 32, 4)], "y")
    return g.model("tiny_mlp", ("x", ["batch", 16]), ("y", ["batch", 4]))


def block(g, x, name, inputs, width, stride):
    """A bottleneck: 1×1, 3×3, 1×1, and the way around them."""
    y = g.relu(g.convolution(x, f"{name}.1", inputs, width, 1, 1))
    y = g.relu(g.convolution(y, f"{name}.2", width, width, 3, stride))
    y = g.convolution(y, f"{name}.3", width, width * EXPANSION, 1, 1)
    if stride != 1 or inputs != width * EXPANSION:
        x = g.convolution(x, f"{name}.around", inputs, width * EXPANSION, 1, stride)
    return g.relu(g.add("Add", [y, x], f"{name}.sum"))


def resnet50():
    g = Graph()
    x = g.relu(g.convolution("image", "stem", 3, 64, 7, 2))
    x = g.add("MaxPool", [x], "stem.pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    inputs = 64
    for stage, (width, blocks, stride) in enumerate(STAGES, 1):
        for number in range(blocks):
            x = block(g, x, f"stage{stage}.{number}", inputs, width, stride if number == 0 else 1)
            inputs = width * EXPANSION
    x = g.add("Flatten", [g.add("GlobalAveragePool", [x], "pool")], "features")
    g.add("Identity", [g.linear(x, "classes", inputs, CLASSES)], "logits")
    return g.model("resnet50", ("image", ["batch", 3, 224, 224]), ("logits", ["batch", CLASSES]))


if __name__ == "__main__":
    for name, build in [("tiny_mlp", tiny_mlp), ("resnet50", resnet50)]:
        with open(f"{sys.argv[1]}/{name}.onnx", "wb") as file:
            file.write(build())

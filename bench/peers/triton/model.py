"""A model of ONNX Runtime on one thread behind Triton's Python backend, as our own workers run theirs."""

import os
import sys

# The backend's interpreter looks at no variable of the environment for its packages.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "packages"))

import onnxruntime  # noqa: E402
import triton_python_backend_utils as triton  # noqa: E402


class TritonPythonModel:
    def initialize(self, arguments):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        model = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model.onnx")
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        answers = []
        for request in requests:
            x = triton.get_input_tensor_by_name(request, "x").as_numpy()
            (y,) = self.session.run(["y"], {"x": x})
            answers.append(triton.InferenceResponse([triton.Tensor("y", y)]))
        return answers

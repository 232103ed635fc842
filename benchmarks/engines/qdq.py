"""Quantized programs as ONNX models, and what engines make of them.

torch's exporter writes `quantized_decomposed` ops as QuantizeLinear and
DequantizeLinear, which both engines turn into layers on integers. For ONNX Runtime the
graph is put in the form that its own quantizer gives it: limits of activations are
plain constants, and biases of matrix products have codes too.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

LAYERS = frozenset(
    {
        "Conv",
        "FusedConv",
        "Gemm",
        "FusedGemm",
        "MatMul",
        "FusedMatMul",
        "FullyConnected",
    }
)
"""Layers of ONNX Runtime that compute in float32."""

INTEGER_LAYERS = frozenset(
    {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat"}
)
"""Its layers on integers."""


def is_quantized(model: nn.Module) -> bool:
    """Whether it is the module of a program that `edgec.compress.quantize` made."""
    from torch import fx

    return isinstance(model, fx.GraphModule) and any(
        str(node.target).startswith("quantized_decomposed")
        for node in model.graph.nodes
    )


def write_qdq(model: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> None:
    """Write a quantized model as ONNX."""
    import torch

    program = torch.export.export(model, inputs, strict=False)
    torch_onnx: Any = import_module("torch.onnx")  # partly untyped
    # Its optimizer would fold weights and their scales to floats.
    written = torch_onnx.export(program, dynamo=True, verbose=False, optimize=False)
    proto: Any = written.model_proto
    _fold_limits(proto.graph)
    _quantize_biases(proto.graph)
    onnx: Any = import_module("onnx")
    onnx.save(proto, str(path))


def _fold_limits(graph: Any) -> None:
    """Make the limits of Clip plain constants.

    The exporter casts them to the type of the clipped value, which hides from ONNX
    Runtime that they are known, and that the value has no other reader.
    """
    onnx: Any = import_module("onnx")
    values = _Constants(graph)
    limits = {
        name for node in graph.node if node.op_type == "Clip" for name in node.input[1:]
    }
    for node in list(graph.node):
        if node.op_type != "CastLike" or node.output[0] not in limits:
            continue
        limit = values.value(node.input[0])
        if limit is not None:
            plain = onnx.numpy_helper.from_array(
                np.asarray(limit, np.float32), node.output[0]
            )
            graph.initializer.append(plain)
            graph.node.remove(node)
            values.drop(node.input[0])


def _quantize_biases(graph: Any) -> None:
    """Give biases of matrix products int32 codes, in steps of input x weight."""
    onnx: Any = import_module("onnx")
    values = _Constants(graph)
    for node in list(graph.node):
        if node.op_type != "Gemm" or len(node.input) < 3:
            continue
        made_by = [values.makers.get(name) for name in node.input[:2]]
        sources = [n for n in made_by if n and n.op_type == "DequantizeLinear"]
        if len(sources) < 2:
            continue
        scales = [values.value(each.input[1]) for each in sources]
        bias = values.value(node.input[2])
        if bias is None or any(scale is None for scale in scales):
            continue
        steps = (scales[0] * scales[1]).astype(np.float32)
        name = node.input[2]
        codes = np.rint(bias / steps).astype(np.int32)
        graph.initializer.extend(
            [
                onnx.numpy_helper.from_array(codes, f"{name}_codes"),
                onnx.numpy_helper.from_array(steps, f"{name}_steps"),
            ]
        )
        operands = [f"{name}_codes", f"{name}_steps"]
        made = onnx.helper.make_node(
            "DequantizeLinear", operands, [f"{name}_value"], axis=0
        )
        graph.node.insert(0, made)
        node.input[2] = f"{name}_value"
        values.drop(name)


class _Constants:
    """What is known of a graph."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._onnx: Any = import_module("onnx")
        self._arrays = {each.name: each for each in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}

    def value(self, name: str) -> Any:
        """An array; None if it is not constant."""
        if name in self._arrays:
            return self._onnx.numpy_helper.to_array(self._arrays[name])
        node = self.makers.get(name)
        if node is not None and node.op_type == "Cast":  # to the type that it has
            return self.value(node.input[0])
        if node is not None and node.op_type == "Constant":
            (found,) = node.attribute  # a tensor, or a number by itself
            value = self._onnx.helper.get_attribute_value(found)
            is_tensor = found.name == "value"
            return self._onnx.numpy_helper.to_array(value) if is_tensor else value
        return None

    def drop(self, name: str) -> None:
        """Forget an array that nobody reads any more."""
        is_read = any(name in node.input for node in self._graph.node)
        if name in self._arrays and not is_read:
            self._graph.initializer.remove(self._arrays.pop(name))


def onnxruntime_layers(path: Path) -> tuple[int, int]:
    """How many layers ONNX Runtime computes on integers, and how many there are."""
    onnx: Any = import_module("onnx")
    onnxruntime: Any = import_module("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns of what is written for this machine
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        graph = onnx.load(options.optimized_model_filepath).graph
    kinds = [node.op_type for node in graph.node]
    found = sum(kind in INTEGER_LAYERS for kind in kinds)
    return found, found + sum(kind in LAYERS for kind in kinds)


def openvino_layers(path: Path) -> tuple[int, int]:
    """The same of OpenVINO."""
    openvino: Any = import_module("openvino")
    network = openvino.Core().compile_model(str(path), "CPU")
    kinds: list[str] = []
    for op in network.get_runtime_model().get_ordered_ops():
        info = op.get_rt_info()
        if info["layerType"].astype(str) in ("Convolution", "FullyConnected", "MatMul"):
            kinds.append(info["primitiveType"].astype(str))
    return sum(kind.endswith("_I8") for kind in kinds), len(kinds)

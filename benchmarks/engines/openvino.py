"""OpenVINO's CPU plug-in, in float32 or in the precision that it chooses."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.engines.base import Array, Run, missing
from benchmarks.engines.onnx_file import onnx_file

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class OpenVino:
    """One stream, tuned for latency.

    Without a `precision` it computes in bfloat16 where the processor has instructions
    for that: another job, so it is an engine of its own.
    """

    folder: Path
    """Where ONNX files are kept."""
    name: str = "openvino"
    precision: str | None = "f32"
    is_own: bool = False

    @property
    def is_float32(self) -> bool:
        """Only if it was told so."""
        return self.precision == "f32"

    def available(self) -> str | None:
        """The engine, and what torch needs to write the file."""
        return missing("onnx", "openvino")

    def version(self) -> str:
        """The version of the package."""
        return version("openvino")

    def prepare(
        self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int
    ) -> Run:
        """Write the ONNX file if there is none, load and compile it."""
        openvino: Any = import_module("openvino")  # its types are generated and open
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        if self.precision is not None:
            settings["INFERENCE_PRECISION_HINT"] = self.precision
        network = openvino.Core().compile_model(
            str(onnx_file(model, inputs, self.folder)), "CPU", settings
        )
        request = network.create_infer_request()
        feed = {number: x.numpy() for number, x in enumerate(inputs)}
        outputs = range(len(network.outputs))

        def run() -> list[Array]:
            request.infer(feed, share_inputs=True, share_outputs=True)
            return [request.get_output_tensor(number).data for number in outputs]

        return run

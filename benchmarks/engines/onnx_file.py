"""Models as ONNX files, for the engines that read those; written once per model."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engines.qdq import is_quantized, write_qdq

if TYPE_CHECKING:
    from torch import Tensor, nn


def onnx_file(model: nn.Module, inputs: tuple[Tensor, ...], folder: Path) -> Path:
    """The path of `model` as ONNX, below `folder`; an earlier file is used again.

    A file is found by its content: structure, weights, shapes of the inputs and torch's
    version. Writes through a second file, so that no half of one is ever read.
    """
    path = folder / f"{content_key(model, inputs)}.onnx"
    if path.exists():
        return path
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    # Any: its arguments are partly untyped.
    export: Any = torch.onnx.export
    with warnings.catch_warnings():
        # The exporter without dynamo is deprecated, but the one whose graphs the peers
        # have been tuned for the longest; it also folds batch norms.
        warnings.simplefilter("ignore")
        if is_quantized(model):
            write_qdq(model, inputs, part)
        else:
            export(model, inputs, str(part), dynamo=False)
    part.replace(path)
    return path


def content_key(model: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """A hash of what a file that is made from a model depends on."""
    import torch

    digest = hashlib.blake2b(digest_size=12)
    shapes = [(tuple(x.shape), str(x.dtype)) for x in inputs]
    digest.update(f"{torch.__version__}\n{shapes}\n{model}\n".encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(np.ascontiguousarray(value.numpy(force=True)).data)
    return digest.hexdigest()

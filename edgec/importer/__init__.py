"""torch models to the `nn` dialect.

export.py     any kind of model to one flat `torch.export` graph
fold.py       which fx nodes depend on weights alone, and their values
builder.py    makes ops and constants; what the rules below are written with
aten*.py      one rule per ATen overload, by theme; `aten.TABLE` is all of them
quantizing.py what the rules for quantized ops share
checks.py     what is asked of every call, whatever its rule
walk.py       the walk over the graph, which collects every problem it meets
problems.py   how problems are told to the user
model.py      what comes out
"""

from __future__ import annotations

from edgec.importer.model import ImportedModel
from edgec.importer.walk import import_model

__all__ = ["ImportedModel", "import_model"]

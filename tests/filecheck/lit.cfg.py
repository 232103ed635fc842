"""lit's configuration: `.mlir` files, run with this environment's tools."""

import os
import sys
from pathlib import Path

import lit.formats

config.name = "edgec"  # noqa: F821 - lit defines `config`
config.test_format = lit.formats.ShTest(execute_external=False)  # noqa: F821
config.suffixes = [".mlir"]  # noqa: F821
config.test_source_root = str(Path(__file__).parent)  # noqa: F821
config.test_exec_root = os.environ["EDGEC_LIT_OUTPUT"]  # noqa: F821

bin_folder = Path(sys.executable).parent
environment = config.environment  # noqa: F821
environment["PATH"] = os.pathsep.join([str(bin_folder), os.environ["PATH"]])
for name in ("PYTHONPATH", "COVERAGE_PROCESS_CONFIG"):
    if name in os.environ:
        environment[name] = os.environ[name]

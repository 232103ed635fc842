"""lit's configuration: `.mlir` files, run with this environment's tools."""

import os
import sys
from pathlib import Path
from typing import Any

from lit import formats

# Any: lit runs this file with `config` among the globals, and publishes no types.
config: Any = globals()["config"]
untyped_formats: Any = formats

config.name = "edgec"
config.test_format = untyped_formats.ShTest(execute_external=False)
config.suffixes = [".mlir"]
config.test_source_root = str(Path(__file__).parent)
config.test_exec_root = os.environ["EDGEC_LIT_OUTPUT"]

bin_folder = Path(sys.executable).parent
config.environment["PATH"] = os.pathsep.join([str(bin_folder), os.environ["PATH"]])
for name in ("PYTHONPATH", "COVERAGE_PROCESS_CONFIG"):
    if name in os.environ:
        config.environment[name] = os.environ[name]

"""Weights in integers for tests of passes, written to the file that is named.

IR has no text for the numbers of a quantized tensor.
"""

import sys

import numpy as np
from safetensors.numpy import save_file

codes = np.arange(32 * 8, dtype=np.int64).reshape(32, 8) % 15 - 7
kept = np.zeros((8, 8, 3, 3), np.int8)
kept[:4, 4:, 1, 1] = 1
kept[0, 4:6, 1, 1] = 100
places = np.arange(64 * 64 * 9)
single = (places * 7919 % 9973 < 250).reshape(64, 64, 3, 3)
arrays = {
    "single": single.astype(np.int8),
    "codes": codes.astype(np.int8),
    "down": codes.astype(np.int8).reshape(8, 32),
    "few": (codes % 3 - 1).astype(np.int8),
    "bytes": np.arange(-128, 128, dtype=np.int8).reshape(32, 8),
    "kept": kept,
    "dw": np.ones((4, 1, 2, 2), np.int8),
    "two": np.ones((8, 1, 2, 2), np.int8),
    "channels": np.ones((8, 1, 3, 3), np.int8),
}
save_file(arrays, sys.argv[1])

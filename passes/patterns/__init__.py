"""Rewrites of tensor programs that passes are put together from, by theme.

rewriting.py    the walk, and small questions about values
movement.py     ops that move elements and compute nothing
products.py     convolutions, linear layers, matrix products
small_planes.py convolutions on planes of few positions
pooling.py      pools
halves.py       tensors in bfloat16
signs.py        signed activations as unsigned bytes
elementwise.py  elementwise ops and constants
"""

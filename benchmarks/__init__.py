"""Measurements of edgec next to its peers; see `python -m benchmarks --help`."""

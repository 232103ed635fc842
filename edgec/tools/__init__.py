"""Command lines: `edgec` and `edgec-opt`. Only here is the environment read."""

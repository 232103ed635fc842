"""Convolutions: three families of loops around registers, and depthwise ones."""

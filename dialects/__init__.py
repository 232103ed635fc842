"""The dialects of edgec: `nn` (network), `sq` (compressed), `lane` (kernel level)."""

if __name__ == "dialects":
    raise ImportError("import this package as 'edgec.dialects'")

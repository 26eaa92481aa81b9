"""What sections 4 to 6 of the paper found, found again: `make reproduce` writes the page.

Every number comes from an `fg-onnx evaluate` command that anyone can type; the page shows it.
"""

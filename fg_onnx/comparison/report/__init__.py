"""What a comparison found, for people and for pipelines: HTML, Markdown and JUnit.

Everything is made of an `fg_onnx.comparison.document.Comparison` and of nothing else.
"""

from fg_onnx.comparison.report.writing import FILES, write_reports

__all__ = ["FILES", "write_reports"]

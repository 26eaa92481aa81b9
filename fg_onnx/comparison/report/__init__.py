"""What a comparison found, for people and for pipelines: HTML, Markdown and JUnit.

Everything is made of an `fg_onnx.comparison.document.Comparison` and of nothing else.
"""

from fg_onnx.comparison.report.writing import write_reports

__all__ = ["write_reports"]

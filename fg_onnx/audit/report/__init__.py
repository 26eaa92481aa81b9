"""What an audit found, for people and for pipelines: HTML, Markdown and JUnit.

Everything is made of an `fg_onnx.audit.document.Document` and of nothing else.
"""

from fg_onnx.audit.report.writing import FILES, write_reports

__all__ = ["FILES", "write_reports"]

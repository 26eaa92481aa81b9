"""What an audit found, for people and for pipelines: HTML, Markdown, JUnit and JSON.

Everything is made of an `fg_onnx.audit.document.Document` and of nothing else.
"""

from fg_onnx.audit.report.writing import write_reports

__all__ = ["write_reports"]

"""JUnit XML: what pipelines show beside the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from xml.etree import ElementTree

from fg_onnx.audit.document import Document, Finding
from fg_onnx.audit.report import words
from fg_onnx.audit.report.text import visible
from fg_onnx.audit.report.words import Reported

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'


def text(document: Document) -> str:
    """Of an audit."""
    properties = {
        "fg-onnx": document.tool_version,
        "verdict": document.verdict,
        "model": document.model.path,
        "sha256": document.model.sha256,
        "images": str(document.images),
        "broken": str(document.broken),
    }
    return suite_text(document, "audit", document.model.path, properties)


def suite_text(document: Reported, kind: str, of: str, properties: Mapping[str, str]) -> str:
    """One suite: the verdict, and a case for every finding.

    Only what fails the verdict is a failure; warnings and notes passed, with what they say as
    output.

    Args:
        document: what was found.
        kind: ``audit`` or ``compare``.
        of: what was looked at.
        properties: of the suite.
    """
    failed = [finding for finding in document.findings if finding.severity == "fail"]
    failures = len(failed) + (document.verdict == "fail")
    suites = ElementTree.Element("testsuites", name=f"fg-onnx {kind}")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name=visible(f"fg-onnx {kind} of {of}"),
        tests=str(len(document.findings) + 1),
        failures=str(failures),
        errors="0",
        skipped="0",
    )
    held = ElementTree.SubElement(suite, "properties")
    for name, value in properties.items():
        ElementTree.SubElement(held, "property", name=name, value=visible(value))
    case = partial(_case, suite, kind)
    case("verdict", words.summary(document), document.verdict == "fail", "verdict")
    seen: Counter[str] = Counter()
    for finding in document.findings:
        seen[finding.check] += 1
        number = seen[finding.check]
        name = finding.check if number == 1 else f"{finding.check} ({number})"
        case(name, finding.title, finding.severity == "fail", _body(finding))
    ElementTree.indent(suites)
    return f"{_DECLARATION}\n{ElementTree.tostring(suites, encoding='unicode')}\n"


def _case(
    suite: ElementTree.Element, kind: str, name: str, title: str, fails: bool, body: str
) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=f"fg-onnx.{kind}", name=visible(name)
    )
    if fails:
        said = ElementTree.SubElement(case, "failure", message=visible(title), type=kind)
        said.text = body
    else:
        ElementTree.SubElement(case, "system-out").text = f"{visible(title)}\n{body}"


def _body(finding: Finding) -> str:
    lines = [f"{words.SEVERITIES[finding.severity]}: {visible(finding.text)}"]
    compared = words.compared(finding)
    if compared:
        lines.append(compared)
    if finding.images:
        lines += ["images, worst first:", *(f"  {visible(name)}" for name in finding.images)]
    return "\n".join(lines)

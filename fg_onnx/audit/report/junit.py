"""JUnit XML: what pipelines show beside the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from xml.etree import ElementTree

from fg_onnx.audit.document import Check, Document, Finding
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
    """One suite: the verdict, a case for every check, and one for every other finding.

    Only what fails the verdict is a failure; warnings and notes passed, with what they say as
    output. A check that was not made is skipped, unless that is a finding.

    Args:
        document: what was found.
        kind: ``audit`` or ``compare``.
        of: what was looked at.
        properties: of the suite.
    """
    suites = ElementTree.Element("testsuites", name=f"fg-onnx {kind}")
    suite = ElementTree.SubElement(suites, "testsuite", name=visible(f"fg-onnx {kind} of {of}"))
    held = ElementTree.SubElement(suite, "properties")
    for name, value in properties.items():
        ElementTree.SubElement(held, "property", name=name, value=visible(value))
    seen: Counter[str] = Counter()

    def case(name: str) -> ElementTree.Element:
        seen[name] += 1
        number = f" ({seen[name]})" if seen[name] > 1 else ""
        names = {"classname": f"fg-onnx.{kind}", "name": visible(name) + number}
        return ElementTree.SubElement(suite, "testcase", names)

    said = words.summary(document)
    _told(case("verdict"), said, document.verdict == "fail", kind, "verdict")
    findings = document.findings
    for check in document.checks:
        own = case(f"{check.name}: {check.what}" if check.what else check.name)
        if check.finding is not None:
            _found(own, findings[check.finding], kind)
        elif check.outcome == "not made":
            ElementTree.SubElement(own, "skipped", message=visible(_skipped(check)))
        else:
            _told(own, check.outcome, False, kind, words.compared(check.measured, check.limit))
    judged = {check.finding for check in document.checks}
    for place, finding in enumerate(findings):
        if place not in judged:
            _found(case(finding.check), finding, kind)
    counts = {"tests": "testcase", "failures": ".//failure", "skipped": ".//skipped"}
    suite.attrib |= {key: str(len(suite.findall(tag))) for key, tag in counts.items()}
    suite.set("errors", "0")
    ElementTree.indent(suites)
    return f"{_DECLARATION}\n{ElementTree.tostring(suites, encoding='unicode')}\n"


def _skipped(check: Check) -> str:
    """Why it was not made, and what was measured all the same."""
    return ", ".join(filter(None, [check.reason, words.compared(check.measured, check.limit)]))


def _found(case: ElementTree.Element, finding: Finding, kind: str) -> None:
    _told(case, finding.title, finding.severity == "fail", kind, _body(finding))


def _told(case: ElementTree.Element, title: str, fails: bool, kind: str, body: str) -> None:
    if fails:
        said = ElementTree.SubElement(case, "failure", message=visible(title), type=kind)
        said.text = body
    else:
        ElementTree.SubElement(case, "system-out").text = f"{visible(title)}\n{body}"


def _body(finding: Finding) -> str:
    lines = [f"{words.SEVERITIES[finding.severity]}: {visible(finding.text)}"]
    compared = words.compared(finding.measured, finding.limit)
    if compared:
        lines.append(compared)
    if finding.images:
        lines += ["images, worst first:", *(f"  {visible(name)}" for name in finding.images)]
    return "\n".join(lines)

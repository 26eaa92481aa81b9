"""A page as one HTML file, which fetches nothing and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources

from fg_onnx.audit.report.markup import NEWLINE, Html, element, escaped, join

_SLOT = re.compile(r"\{\{(\w+)\}\}")


def shell(
    title: str,
    header: Html,
    sections: Mapping[str, tuple[str, Html]],
    footer: Html,
    *,
    style: str,
    script: str,
) -> str:
    """The whole page.

    Args:
        title: of the page.
        header: above everything.
        sections: by the id of each, its name in the navigation, and itself.
        footer: below everything.
        style: as CSS.
        script: as JavaScript.
    """
    slots = {
        "policy": escaped(_policy(style, script)),
        "title": escaped(title),
        "style": style,
        "script": script,
        "skip": _skip(sections),
        "header": header,
        "navigation": _navigation({key: name for key, (name, _) in sections.items()}),
        "sections": join((section for _, section in sections.values()), NEWLINE),
        "footer": footer,
    }
    return _SLOT.sub(lambda slot: slots[slot[1]], asset("page.html"))


def asset(name: str, package: str = "fg_onnx.audit.report") -> str:
    """A file that pages are made of."""
    return resources.files(package).joinpath("assets", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """What the page may load and run: its own style and script by their hashes, data URIs.

    So even markup that came through unescaped would neither run nor reach the network.
    """
    return (
        "default-src 'none'; img-src data:; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _skip(sections: Mapping[str, tuple[str, Html]]) -> Html:
    """The link past the head of the page, to the first section."""
    key, (name, _) = next(iter(sections.items()))
    return element("a", f"Skip to the {name.lower()}", class_="skip", href=f"#{key}")


def _navigation(places: Mapping[str, str]) -> Html:
    links = (element("li", element("a", name, href=f"#{key}")) for key, name in places.items())
    return element("nav", element("ul", join(links)), aria_label="Sections")

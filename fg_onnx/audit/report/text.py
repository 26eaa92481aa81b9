"""Text from models and file names, as it is shown."""

from __future__ import annotations

_MOST_CHARACTERS = 2000


def visible(text: str) -> str:
    """One line on which everything can be seen, for a reader to trust what a name says.

    Control characters, newlines, marks that turn the direction of writing, and what is no
    character at all become escapes; of a text that is very long the middle is left out.
    """
    if len(text) > _MOST_CHARACTERS:
        half = _MOST_CHARACTERS // 2
        text = f"{text[:half]} … {text[-half:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def basename(path: str) -> str:
    """The last part of a path of any system; all of it where it has none."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path

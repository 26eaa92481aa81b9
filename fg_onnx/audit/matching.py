"""Which image a name in a file of labels or boxes stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from fg_onnx.audit.items import Item, as_text
from fg_onnx.errors import InputError


class Matching:
    """Names given by hand, found among the images.

    A name stands for the image whose whole path it is, else whose path ends so, else that has it
    as its file name without the suffix.

    Args:
        names: as they stand in the file.
        items: the images.
        where: the file, for messages.
        code: of the errors.

    Raises:
        InputError: of that code: a name stands for several images, or there twice, or none for any.

    Attributes:
        found: by the number of an image, the number of its name.
        unused: the names that stand for no image.
    """

    def __init__(self, names: Sequence[str], items: Sequence[Item], where: str, code: str) -> None:
        places: dict[str, int] = {}
        for place, name in enumerate(names):
            # a backslash is between folders, or a part of a name
            spelt = name.removeprefix("./"), name.replace("\\", "/").removeprefix("./")
            if any(places.setdefault(each, place) != place for each in spelt):
                raise InputError(
                    code, f"`{where}` has `{name}` more than once", "name every image once"
                )
        spellings = [_spellings(item) for item in items]
        self.found = {
            number: places[whole] for number, (whole, *_) in enumerate(spellings) if whole in places
        }
        exact = set(self.found.values())
        taken: dict[int, int] = {}
        for number, (_, *ends) in enumerate(spellings):
            at = next((places[text] for text in ends if text in places), None)
            if at is None or at in exact or number in self.found:
                continue
            if at in taken:
                raise InputError(
                    code,
                    f"`{where}`: `{names[at]}` stands for several images: "
                    f"`{items[taken[at]].name}` and `{items[number].name}`",
                    "name them by a longer part of their paths",
                )
            taken[at] = number
            self.found[number] = at
        self.unused = [name for at, name in enumerate(names) if at not in exact and at not in taken]
        if not self.found:
            raise InputError(
                code,
                f"`{where}` names none of the images; its first name is `{names[0]}`",
                f"they are named by path, end of path or file name, such as `{items[0].path.name}`",
            )


def _spellings(item: Item) -> list[str]:
    """What an image may be called, the longest first."""
    row = "" if item.row is None else f"[{item.row}]"
    parts = PurePosixPath(as_text(item.path.as_posix()).removeprefix("./")).parts
    ends = ["/".join(parts[at:]).replace("//", "/") for at in range(len(parts))]
    return [f"{text}{row}" for text in [*ends, as_text(item.path.stem)]]

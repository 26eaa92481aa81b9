"""The 1,000 ImageNet labels as a text file, one short name a line, in the order of the logits.

Source: PyPI `timm` 1.0.31 (Apache-2.0), read from its wheel, not installed: the WordNet synsets of
ImageNet-1k and their lemmas, of which the first is taken. Where two first lemmas coincide (the two
cranes, the two maillots), the synset's definition follows.

    python -m sample_models.labels -o imagenet_labels.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sample_models.fetch import Wheel, cache_dir, read_wheel, write_bytes

TIMM = Wheel(
    "timm",
    "1.0.31",
    "timm-1.0.31-py3-none-any.whl",
    "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
)
INFO = "timm/data/_info"


def imagenet_labels() -> list[str]:
    """Return the 1,000 labels, all different."""
    synsets = read_wheel(TIMM, f"{INFO}/imagenet_synsets.txt").decode().split()
    lemmas, definitions = _table("lemma"), _table("definition")
    short = [lemmas[synset].split(",")[0] for synset in synsets]
    return [
        name if short.count(name) == 1 else f"{name}: {definitions[synset].split(';')[0]}"
        for name, synset in zip(short, synsets, strict=True)
    ]


def _table(column: str) -> dict[str, str]:
    text = read_wheel(TIMM, f"{INFO}/imagenet_synset_to_{column}.txt").decode()
    return dict(line.split("\t") for line in text.splitlines())


def write(path: str | Path | None = None) -> Path:
    """Write the labels to `path`, by default into the cache, and return the path."""
    path = Path(path or cache_dir() / "imagenet_labels.txt")
    return write_bytes(path, "".join(f"{label}\n" for label in imagenet_labels()).encode())


def main() -> None:
    """Write the labels to the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    print(write(parser.parse_args().output))


if __name__ == "__main__":
    main()

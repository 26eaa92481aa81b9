"""Photographs that anyone may use, from the wheel of scikit-image 0.26.0, not installed.

Each is CC0 or in the public domain by the docstring of its loader in `skimage/data/_fetchers.py`.

    python -m sample_models.photos -o photos
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sample_models.fetch import Wheel, cache_dir, read_wheel, write_bytes

SKIMAGE = Wheel(
    "scikit-image",
    "0.26.0",
    "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    platforms=("manylinux_2_24_x86_64", "manylinux_2_28_x86_64"),
)
LICENCES = {
    "chelsea.png": "CC0, Stefan van der Walt",
    "coffee.png": "CC0, Rachel Michetti",
    "astronaut.png": "public domain, NASA",
    "rocket.jpg": "public domain, SpaceX",
    "camera.png": "CC0, Lav Varshney",
    "brick.png": "CC0, CC0Textures",
    "grass.png": "CC0, see the loader's docstring",
    "gravel.png": "CC0, CC0Textures",
}


def write(folder: str | Path | None = None) -> list[Path]:
    """Write the photographs into `folder`, by default `photos` in the cache; return their paths."""
    folder = Path(folder or cache_dir() / "photos")
    return [
        write_bytes(folder / name, read_wheel(SKIMAGE, f"skimage/data/{name}")) for name in LICENCES
    ]


def main() -> None:
    """Write the photographs into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    for path in write(parser.parse_args().output):
        print(path)


if __name__ == "__main__":
    main()

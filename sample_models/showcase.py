"""The pictures of the README: the real SqueezeNet 1.1 on free photographs.

    python -m sample_models.showcase -o docs/images

Writes `fullgrad.png`, every photograph's overlay beside its bare map, and `layers.png`, the layer
maps of one of them as in Figure 1 of the paper.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import fg_onnx
from fg_onnx.pictures import png, render
from sample_models import labels, photos, squeezenet

PHOTOS = ("chelsea", "coffee", "camera", "rocket")
FIGURE = "chelsea"


def write(folder: Path) -> list[Path]:
    """Write both pictures; return their paths."""
    names = labels.imagenet_labels()
    preprocessing = fg_onnx.load_preprocessing("caffe-bgr")
    session = fg_onnx.Session(
        fg_onnx.instrument(squeezenet.write(), emit=("saliency", "contributions", "layer-maps"))
    )
    tiles, captions = [], []
    found = {path.stem: path for path in photos.write()}
    for name in PHOTOS:
        image = fg_onnx.prepare(fg_onnx.read_image(found[name]), preprocessing, session.input_shape)
        attribution = session.explain(image.array)
        assert attribution.saliency is not None
        assert attribution.targets is not None
        assert attribution.residual is not None
        saliency = attribution.saliency[0]
        tiles += [render.overlay(image.view, saliency), render.heat_map(saliency)]
        captions += [
            names[int(attribution.targets[0])],
            f"residual {attribution.residual[0]:.0e}",
        ]
        if name == FIGURE:
            maps = [(site, layer[0]) for site, layer in attribution.layer_maps.items()]
            grid = render.layer_grid(image.view, saliency, maps)
    folder.mkdir(parents=True, exist_ok=True)
    png.write_png(folder / "layers.png", grid)
    png.write_png(folder / "fullgrad.png", render.side_by_side(tiles, captions, height=180))
    return [folder / "fullgrad.png", folder / "layers.png"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images"))
    for path in write(parser.parse_args().output):
        print(path)


if __name__ == "__main__":
    main()

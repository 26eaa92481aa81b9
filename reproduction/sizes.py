"""How much is run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """The numbers that decide how long it takes, and how small the standard errors become.

    Attributes:
        fashion: test images of Fashion-MNIST that pixels are removed from.
        digits: test images of every digit.
        samples: of the smooth methods, and steps of integrated gradients.
        randomised: images whose maps are compared as a model is randomised.
        layers: of a large model, that are looked at then.
        trained: images of Fashion-MNIST that networks are trained on again.
        tested: images that these are tested on.
        epochs: of each training.
        width: of the network's first stage.
        samples_again: of the smooth methods, and steps of integrated gradients, where all of these
            images are explained.
        percents: shares of the pixels that are replaced by black then.
        percents_mean: and by the mean colour.
        pairs: of digits, the one turned into the other.
    """

    fashion: int
    digits: int
    samples: int
    randomised: int
    layers: int
    trained: int
    tested: int
    epochs: int
    width: int
    samples_again: int
    percents: str
    percents_mean: str
    pairs: tuple[tuple[int, int], ...]


SMALL = Size(
    fashion=500,
    digits=100,
    samples=32,
    randomised=50,
    layers=8,
    trained=10_000,
    tested=2_000,
    epochs=3,
    width=8,
    samples_again=8,
    percents="10,30,50,70,90",
    percents_mean="50,90",
    pairs=((8, 3), (8, 6), (9, 1), (9, 4)),
)
"""At most an hour on two cores."""

FULL = Size(
    fashion=10_000,
    digits=100,
    samples=200,
    randomised=500,
    layers=30,
    trained=60_000,
    tested=10_000,
    epochs=10,
    width=16,
    samples_again=50,
    percents="10,30,50,70,90",
    percents_mean="10,30,50,70,90",
    pairs=tuple((a, b) for a in range(10) for b in range(10) if a != b),
)
"""For a larger machine."""

"""The architectures that are exported, by name; no torch is needed to read this list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Library = Literal["torchvision", "timm", "package"]

SIDE = 224  # height and width of an image, unless an architecture says otherwise


@dataclass(frozen=True)
class Architecture:
    """A network by name.

    Attributes:
        name: in its library.
        library: that defines it; `package`: real weights, by a script of its own.
        side: height and width of its images here. None of the heavy ones depends on the size it
            was designed for; at a smaller one they are checked in half the time.
    """

    name: str
    library: Library
    side: int = SIDE


# What `make corpus` checks.
CORPUS = (
    Architecture("alexnet", "torchvision"),
    Architecture("vgg11", "torchvision"),
    Architecture("vgg16_bn", "torchvision"),
    Architecture("squeezenet1_1", "torchvision"),
    Architecture("googlenet", "torchvision"),
    Architecture("inception_v3", "torchvision", 192),
    Architecture("shufflenet_v2_x0_5", "torchvision"),
    Architecture("mobilenet_v2", "torchvision"),
    Architecture("mobilenet_v3_small", "torchvision"),
    Architecture("mnasnet0_5", "torchvision"),
    Architecture("resnet18", "torchvision"),
    Architecture("wide_resnet50_2", "torchvision", 160),
    Architecture("densenet121", "torchvision"),
    Architecture("efficientnet_b0", "torchvision"),
    Architecture("convnext_tiny", "torchvision"),
    Architecture("regnet_y_400mf", "torchvision"),
    Architecture("resnet26d", "timm"),
    Architecture("resnext50_32x4d", "timm"),
    Architecture("seresnet50", "timm"),
    Architecture("skresnet18", "timm"),
    Architecture("ecaresnet26t", "timm"),
    Architecture("res2net50_26w_4s", "timm", 160),
    Architecture("resnest14d", "timm"),
    Architecture("dpn68", "timm"),
    Architecture("dla34", "timm"),
    Architecture("hrnet_w18_small", "timm", 160),
    Architecture("xception41", "timm", 160),
    Architecture("inception_v4", "timm", 160),
    Architecture("nasnetalarge", "timm", 160),
    Architecture("nfnet_l0", "timm", 160),
    Architecture("resnetv2_50x1_bit", "timm", 160),
    Architecture("repvgg_a0", "timm"),
    Architecture("ghostnetv2_100", "timm"),
    Architecture("mobilenetv3_small_050", "timm"),
    Architecture("mixnet_s", "timm"),
    Architecture("efficientnetv2_rw_t", "timm", 160),
    Architecture("tf_efficientnet_lite0", "timm"),
    Architecture("lcnet_035", "timm"),
    Architecture("cspresnet50", "timm", 160),
    Architecture("vovnet39a", "timm", 160),
    Architecture("convnext_atto", "timm"),
    Architecture("convnextv2_atto", "timm"),
    Architecture("poolformer_s12", "timm", 160),
    Architecture("edgenext_xx_small", "timm"),
    Architecture("regnety_002", "timm"),
)

# Further ones that the tests use.
OTHERS = (
    Architecture("vgg11_bn", "torchvision"),
    Architecture("resnet50", "torchvision"),
    Architecture("efficientnet_lite0", "package"),
)

KNOWN = {architecture.name: architecture for architecture in (*CORPUS, *OTHERS)}

# Those whose every gradient, site by site, the tests compare with torch's.
CLOSELY_TESTED = (
    "squeezenet1_1",
    "vgg11_bn",
    "resnet18",
    "resnet50",
    "densenet121",
    "mobilenet_v2",
    "googlenet",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "regnet_y_400mf",
    "efficientnet_lite0",
)

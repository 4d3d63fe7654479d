"""Every network of the catalogue, small, with each of its normalizations."""

from __future__ import annotations

from typing import Any

from onebasin.networks import NETWORKS

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"width": 8, "depth": 2},
    "shallow-cnn": {"width": 5, "depth": 4, "image_size": 12},
    "resnet20": {"width": 0.25, "image_size": 8},
    "vit": {"width": 12, "depth": 2, "image_size": 8},
}
SMALL_IMAGES = {"width": 3, "image_size": 8}


def norms(name: str) -> list[str]:
    """Return the kinds of normalization that a network can have."""
    if name.startswith("vgg"):
        return ["batch", "layer", "none"]
    return ["batch", "layer"] if name.startswith("resnet") else []


def small(name: str) -> dict[str, Any]:
    """Return arguments that make a network small."""
    return SMALL.get(name, SMALL_IMAGES)


CASES: dict[str, tuple[str, dict[str, Any]]] = {}
for _name in NETWORKS:
    if kinds := norms(_name):
        CASES |= {f"{_name}-{kind}": (_name, {**small(_name), "norm": kind}) for kind in kinds}
    else:
        CASES[_name] = (_name, small(_name))

LIGHT = [case for case in CASES if not case.startswith(("vgg13", "vgg16", "vgg19", "resnet34"))]
"""One depth of each architecture, where the others differ in nothing but the count."""

"""Imports torchvision, also where its compiled operators do not fit the installed torch.

A torchvision wheel beside a CPU build of torch cannot load its compiled operators, and its
import then fails because the schemas of two of them are missing. Models need neither.
"""

import importlib
import sys
from types import ModuleType

import torch

from onebasin.checkpoints.packages import import_package

_MISSING_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def import_torchvision() -> ModuleType:
    """Import torchvision; where exactly these two schemas are missing, define them first.

    Returns:
        The package `torchvision`.

    Raises:
        OneBasinError: It is not installed, or cannot be imported for another reason.
    """
    if "torchvision" not in sys.modules:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "operator torchvision::nms does not exist" in str(error):
                _define_schemas()
                _forget_half_imported()
        except ImportError:
            pass  # explained below
    return import_package("torchvision", extra="vision")


def _define_schemas() -> None:
    for name, schema in _MISSING_SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)


def _forget_half_imported() -> None:
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]

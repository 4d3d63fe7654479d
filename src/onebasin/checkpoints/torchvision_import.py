"""Import of torchvision, also with operators that do not fit the installed torch.

With a CPU build of torch, a torchvision wheel for CUDA cannot load its compiled operators. Its
import then fails, because the schemas of two of them are missing. Models need neither.
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
    """Return torchvision; define the two schemas first if they are missing.

    Returns:
        The package `torchvision`.

    Raises:
        OneBasinError: torchvision is not installed, or its import fails for another reason.
    """
    if "torchvision" not in sys.modules:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "operator torchvision::nms does not exist" in str(error):
                _define_schemas()
                _forget_half_imported()
        except ImportError:
            pass  # reported below
    return import_package("torchvision", extra="vision")


def _define_schemas() -> None:
    for name, schema in _MISSING_SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)


def _forget_half_imported() -> None:
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]

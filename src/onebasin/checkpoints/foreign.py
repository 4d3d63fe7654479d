"""Errors for folders and files of other tools, with the format and the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from onebasin.errors import OneBasinError

_WEIGHTS = "use the PyTorch weights of the same model (model.safetensors)"
_SUFFIXES = {
    ".gguf": "is a GGUF file, whose weights are quantized for llama.cpp; use the original "
    "checkpoint that it was converted from",
    ".ggml": "is a GGML file of llama.cpp; use the original checkpoint that it was converted from",
    ".h5": f"holds TensorFlow weights; {_WEIGHTS}",
    ".keras": f"holds a Keras model; {_WEIGHTS}",
    ".pb": f"holds a TensorFlow graph; {_WEIGHTS}",
    ".tflite": f"holds a TensorFlow Lite model; {_WEIGHTS}",
    ".msgpack": f"holds Flax weights; {_WEIGHTS}",
    ".onnx": "holds an ONNX graph; use the PyTorch checkpoint that it was exported from",
}


def refuse_foreign_file(path: str | os.PathLike[str]) -> None:
    """Raise an error for a file of another tool, recognized by its suffix.

    Args:
        path: a file.

    Raises:
        OneBasinError: the file is of another tool; the message has its format and the remedy.
    """
    problem = _SUFFIXES.get(Path(path).suffix.lower())
    if problem is not None:
        raise OneBasinError(f"{path}: unknown kind of checkpoint; the file {problem}")


def refuse_foreign_folder(folder: str | os.PathLike[str]) -> None:
    """Raise an error for a folder of another tool without a checkpoint.

    Args:
        folder: an existing folder.

    Raises:
        OneBasinError: the folder is of another tool; the message has the remedy.
    """
    names = _names_in(folder)
    if "adapter_config.json" in names:
        raise OneBasinError(
            f"{folder}: holds a PEFT adapter, not a whole model; merge it into its base model "
            "first: PeftModel.from_pretrained(base_model, folder).merge_and_unload()"
            ".save_pretrained(merged_folder)"
        )
    if "model_index.json" in names:
        raise OneBasinError(
            f"{folder}: holds a diffusers pipeline of several models; give the file of one model, "
            f"such as {Path(folder, 'unet', 'diffusion_pytorch_model.safetensors')}, and as ARCH "
            "package.module:callable that builds this model"
        )
    for name in sorted(names):
        if (problem := _SUFFIXES.get(Path(name).suffix.lower())) is not None:
            raise OneBasinError(f"{folder}: holds no PyTorch checkpoint; the file {name} {problem}")


def _names_in(folder: str | os.PathLike[str]) -> Iterable[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise OneBasinError(f"{folder}: cannot be read ({error.strerror})") from error

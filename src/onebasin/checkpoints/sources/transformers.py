"""Architectures of transformers, from a local folder with a `config.json`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from onebasin.checkpoints.messages import one_line
from onebasin.checkpoints.packages import import_package
from onebasin.checkpoints.sources.recipe import Recipe
from onebasin.checkpoints.sources.transformers_inputs import default_inputs
from onebasin.checkpoints.sources.transformers_names import with_module_names
from onebasin.checkpoints.torchvision_import import import_torchvision
from onebasin.errors import OneBasinError


def transformers_recipe(folder: str, arguments: Mapping[str, Any]) -> Recipe:
    """Read an architecture's configuration; no weights are read, nothing is downloaded.

    Args:
        folder: Holds a `config.json`; the class built is the first of its `architectures`.
        arguments: Replace entries of the configuration.

    Returns:
        How to build it, without a cache of keys and values.

    Raises:
        OneBasinError: transformers is missing, or the configuration is missing or invalid.
    """
    _check_config(folder)
    _prepare_torchvision()
    transformers = import_package("transformers", extra="hub")
    config = _read_config(transformers, folder, arguments)
    build = _builder(transformers, config, folder)
    name = f"hf:{folder}"
    return Recipe(name, build, lambda module: default_inputs(module, name), with_module_names)


def _check_config(folder: str) -> None:
    path = Path(folder, "config.json")
    if not os.path.isdir(folder):
        raise OneBasinError(
            f"hf:{folder}: no such folder; give a local folder with a config.json, "
            "since nothing is downloaded"
        )
    if not os.path.isfile(path):
        raise OneBasinError(f"hf:{folder}: the folder has no config.json; copy it there")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OneBasinError(
            f"{path}: not valid JSON ({one_line(error)}); copy or download it again"
        ) from error
    if not isinstance(content, dict) or "model_type" not in content:
        raise OneBasinError(
            f"{path}: has no 'model_type'; expected the configuration of a transformers model"
        )


def _prepare_torchvision() -> None:
    """Let transformers import torchvision later, as some of its models do."""
    try:
        import_torchvision()
    except OneBasinError:
        return  # most models of transformers do without


def _read_config(transformers: Any, folder: str, arguments: Mapping[str, Any]) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **arguments
        )
    # transformers raises whatever its validation meets.
    except Exception as error:
        raise OneBasinError(
            f"hf:{folder}: transformers {transformers.__version__} does not accept the "
            f"config.json ({one_line(error)}); use a model that it knows without remote code"
        ) from error
    unknown = [key for key in arguments if not hasattr(config, key)]
    if unknown:
        raise OneBasinError(
            f"hf:{folder}: the configuration has no {unknown[0]!r}; check --arch-arg"
        )
    for part in (config, *_parts(config)):
        if hasattr(part, "use_cache"):
            part.use_cache = False
    return config


def _parts(config: Any) -> list[Any]:
    """Return the configurations inside a composite one."""
    parts = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    return [part for part in parts if part is not None]


def _builder(transformers: Any, config: Any, folder: str) -> Any:
    names = config.architectures or []
    if not names:
        return lambda: transformers.AutoModel.from_config(config)
    try:
        model_class = getattr(transformers, names[0], None)
    except (ImportError, RuntimeError) as error:
        raise OneBasinError(
            f"hf:{folder}: {names[0]} cannot be imported ({one_line(error)}); install what it needs"
        ) from error
    if not (isinstance(model_class, type) and issubclass(model_class, nn.Module)):
        raise OneBasinError(
            f"hf:{folder}: transformers {transformers.__version__} has no {names[0]!r}, which "
            "config.json names in 'architectures'; models with code of their own are not run"
        )
    return lambda: model_class(config)

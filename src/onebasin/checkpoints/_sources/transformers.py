"""Architectures of transformers, from a local folder with a `config.json`."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from onebasin._packages import import_package, import_torchvision
from onebasin._text import one_line
from onebasin.checkpoints._inputs import InputSpec
from onebasin.checkpoints._sources.recipe import Recipe
from onebasin.checkpoints._sources.transformers_config import (
    check_no_code,
    config_content,
    needs_download,
    needs_network,
    offline,
    read_config,
)
from onebasin.checkpoints._sources.transformers_inputs import default_inputs
from onebasin.checkpoints._sources.transformers_names import with_module_names
from onebasin.errors import OneBasinError


def transformers_recipe(folder: str, arguments: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a model from its configuration, without weights or downloads.

    Code in the folder never runs: only the classes of transformers are used.

    Args:
        folder: folder with a `config.json`; its first entry of `architectures` is built.
        arguments: entries of the configuration to replace.

    Returns:
        The recipe; the model has no cache of keys and values.

    Raises:
        OneBasinError: transformers is missing, the configuration is missing or invalid, or it
            needs code of the folder or the network.
    """
    content = config_content(folder)
    _prepare_torchvision()
    transformers = import_package("transformers", extra="hub")
    config = read_config(transformers, folder, arguments)
    make = _maker(transformers, config, folder, content)
    name = f"hf:{folder}"

    def build() -> nn.Module:
        try:
            with offline():
                return make()
        except Exception as error:
            if needs_network(error):
                raise needs_download(folder, content) from error
            raise

    return Recipe(name, build, lambda module: _inputs(module, name), with_module_names)


def _prepare_torchvision() -> None:
    """Import torchvision, which some models of transformers need."""
    try:
        import_torchvision()
    except OneBasinError:
        return  # most models of transformers do not need it


def _maker(
    transformers: Any, config: Any, folder: str, content: Mapping[str, Any]
) -> Callable[[], nn.Module]:
    """Return a function that builds the model of a configuration."""
    names = config.architectures or []
    if not names:
        if type(config) not in transformers.MODEL_MAPPING:
            why = f"transformers has no AutoModel for {type(config).__name__}"
            check_no_code(transformers, folder, content, why)
            raise OneBasinError(
                f"hf:{folder}: {why}; name the class in 'architectures' of config.json"
            )
        return lambda: transformers.AutoModel.from_config(config, trust_remote_code=False)
    try:
        model_class = getattr(transformers, names[0], None)
    except (ImportError, RuntimeError) as error:
        raise OneBasinError(
            f"hf:{folder}: {names[0]} cannot be imported ({one_line(error)}); install "
            "its requirements"
        ) from error
    if not (isinstance(model_class, type) and issubclass(model_class, nn.Module)):
        why = f"transformers {transformers.__version__} has no {names[0]!r:.60}"
        check_no_code(transformers, folder, content, why)
        raise OneBasinError(
            f"hf:{folder}: {why}, which config.json names in 'architectures'; custom "
            "code of a model is not run"
        )
    return lambda: model_class(config)


def _inputs(module: Any, name: str) -> tuple[InputSpec, ...]:
    try:
        return default_inputs(module, name)
    except OneBasinError:
        raise
    # Sizes in a configuration can have any type.
    except Exception as error:
        raise OneBasinError(
            f"{name}: its config.json gives no example input ({one_line(error)}); pass "
            "example_inputs="
        ) from error

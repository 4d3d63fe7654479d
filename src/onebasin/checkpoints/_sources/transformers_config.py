"""The configuration of a transformers model: read offline, without running code."""

import contextlib
import importlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onebasin._files import read_json
from onebasin._text import one_line, some_names
from onebasin.checkpoints._diagnosis import check_known_folder
from onebasin.checkpoints._sources.recipe import check_no_files
from onebasin.errors import OneBasinError

# The mode is global to the process, so blocks of several threads run one after the other.
_LOCK = threading.RLock()


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Set the offline mode of huggingface_hub for the time of a block.

    Every request of the hub then raises before it reaches the network. The mode is restored
    at the end. Without huggingface_hub nothing happens.
    """
    try:
        constants: Any = importlib.import_module("huggingface_hub.constants")
    except ImportError:
        yield
        return
    with _LOCK:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def needs_network(error: BaseException) -> bool:
    """Return whether an exception or its cause is a request blocked by `offline`."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if type(current).__name__ == "OfflineModeIsEnabled":
            return True
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return False


CONFIG = "config.json"
MOST_LAYERS = 100_000
"""The largest number of layers that is built; a larger one is taken for a damaged file."""
_RESERVED = (
    "trust_remote_code",
    "auto_map",
    "code_revision",
    "local_files_only",
    "cache_dir",
    "force_download",
    "proxies",
    "token",
    "revision",
    "subfolder",
    "gguf_file",
    "return_unused_kwargs",
)
"""Arguments of `from_pretrained` that are not entries of a configuration."""


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: an existing file.

    Raises:
        OneBasinError: the file cannot be read, or is not a JSON object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise OneBasinError(f"{path}: expected a JSON object; copy or download it again")
    return content


def config_content(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a folder's config.json, with the entries that select a class checked.

    Args:
        folder: a local folder.

    Raises:
        OneBasinError: the folder or the file is missing or invalid.
    """
    path = Path(folder, CONFIG)
    if not os.path.isdir(folder):
        raise OneBasinError(
            f"hf:{folder}: no such folder; give a local folder with a config.json, "
            "since nothing is downloaded"
        )
    if not os.path.isfile(path):
        check_known_folder(folder)
        raise OneBasinError(f"hf:{folder}: the folder has no config.json; copy it there")
    content = read_object(path)
    if not isinstance(content.get("model_type"), str):
        raise OneBasinError(
            f"{path}: has no 'model_type'; expected the configuration of a transformers model"
        )
    names = content.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OneBasinError(
            f"{path}: 'architectures' is {names!r:.60}; expected a list of class names, such as "
            '["BertForMaskedLM"]'
        )
    return content


def read_config(transformers: Any, folder: str, arguments: Mapping[str, Any]) -> Any:
    """Return a configuration that runs no code of the folder and needs no network.

    Args:
        transformers: the package.
        folder: a local folder with a config.json.
        arguments: entries of the configuration to replace.

    Raises:
        OneBasinError: the configuration is invalid, or needs code or the network.
    """
    content = config_content(folder)
    reserved = [key for key in arguments if key in _RESERVED]
    if reserved:
        raise OneBasinError(
            f"hf:{folder}: {reserved[0]} cannot be set; code of a folder is never run and nothing "
            "is downloaded"
        )
    try:
        with offline():
            config = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **arguments
            )
    # The validation of transformers may raise anything.
    except Exception as error:
        raise _rejected(transformers, folder, content, error) from error
    unknown = [key for key in arguments if not hasattr(config, key)]
    if unknown:
        raise OneBasinError(
            f"hf:{folder}: the configuration has no {unknown[0]!r}; check arch_args="
        )
    for part in _parts(config):
        for name, value in vars(part).items():
            check_no_files(f"hf:{folder}", value)
            _check_number(folder, name, value)
        _make_safe(part)
    return config


def _check_number(folder: str, name: str, value: Any) -> None:
    """Check a number of layers or blocks, which are built one by one."""
    is_count = "layer" in name or "block" in name or "depth" in name
    if is_count and isinstance(value, int) and value > MOST_LAYERS:
        raise OneBasinError(
            f"hf:{folder}: {name} is {value}; expected at most {MOST_LAYERS:,}, so correct {CONFIG}"
        )


def check_no_code(transformers: Any, folder: str, content: Mapping[str, Any], why: str) -> None:
    """Check that a configuration does not need the code of its folder.

    Args:
        transformers: the package.
        folder: the folder.
        content: content of its config.json.
        why: reason why the code is needed.

    Raises:
        OneBasinError: the configuration names code files.
    """
    files = sorted(set(_code_files(content)))
    if files:
        raise OneBasinError(
            f"hf:{folder}: {why}, and the code that config.json names ({some_names(files)}) is "
            f"never run; use a model that transformers {transformers.__version__} has built in"
        )


def needs_download(folder: str, content: Mapping[str, Any]) -> OneBasinError:
    """Return the error for a configuration that needs the network.

    Args:
        folder: the folder.
        content: content of its config.json.
    """
    backbone = content.get("backbone")
    what = f"the backbone {backbone!r:.60}" if isinstance(backbone, str) else "something"
    return OneBasinError(
        f"hf:{folder}: config.json names {what} of the Hugging Face hub, and nothing is "
        "downloaded; replace it with a 'backbone_config' that holds the backbone's configuration"
    )


def _rejected(
    transformers: Any, folder: str, content: Mapping[str, Any], error: Exception
) -> OneBasinError:
    if needs_network(error):
        return needs_download(folder, content)
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    if content["model_type"] not in known:
        why = f"transformers does not know the model_type {content['model_type']!r:.60}"
        try:
            check_no_code(transformers, folder, content, why)
        except OneBasinError as code_error:
            return code_error
    return OneBasinError(
        f"hf:{folder}: transformers {transformers.__version__} does not accept the "
        f"config.json ({one_line(error)}); use a model that it knows without remote code"
    )


def _code_files(content: Any) -> Iterator[str]:
    """Yield the code files that `auto_map` entries name, at any depth."""
    if isinstance(content, list):
        for value in content:
            yield from _code_files(value)
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        if key != "auto_map":
            yield from _code_files(value)
        elif isinstance(value, dict):
            for reference in value.values():
                if isinstance(reference, str):
                    yield f"{reference.rpartition('.')[0] or reference}.py"


def _parts(config: Any) -> Iterator[Any]:
    """Yield a configuration and those inside it."""
    yield config
    for value in list(vars(config).values()):
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from _parts(value)


def _make_safe(config: Any) -> None:
    """Remove entries that run code, load a kernel or download weights during a build."""
    vars(config).pop("auto_map", None)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    if getattr(config, "use_pretrained_backbone", None):
        config.use_pretrained_backbone = False
    if "/" in str(getattr(config, "_attn_implementation", None)):
        config._attn_implementation = None

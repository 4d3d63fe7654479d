"""Renamed and stacked tensors between files and modules of transformers.

Since version 5, vision models, mixtures of experts and others have other names in memory than in
their files. transformers itself provides the rules.
"""

import copy
import importlib
import re
from typing import Any

from torch import Tensor

from onebasin.checkpoints._conversions import (
    Conversion,
    ConvertedCheckpoint,
    Tensors,
    on_meta,
    rename,
)
from onebasin.checkpoints._lazy import TensorInfo
from onebasin.checkpoints.checkpoint import Checkpoint


def with_module_names(module: Any, checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint with the names and shapes of the tensors of a module.

    Args:
        module: a `PreTrainedModel`, on any device.
        checkpoint: the stored checkpoint.

    Returns:
        A lazy view; the checkpoint itself if no name changes, or if this version of
        transformers has no rules.
    """
    known = set(module.state_dict())
    if all(name in known for name in checkpoint):
        return checkpoint
    try:
        rules = _Rules(module)
    except (ImportError, AttributeError, TypeError):
        return checkpoint
    conversions = rules.conversions(checkpoint)
    return ConvertedCheckpoint(checkpoint, conversions) if conversions else checkpoint


class _Rules:
    """The rules of a module: renaming first, then at most one stacking for each tensor."""

    def __init__(self, module: Any) -> None:
        self._loading = importlib.import_module("transformers.core_model_loading")
        mapping = importlib.import_module("transformers.conversion_mapping")
        entries = mapping.get_model_conversion_mapping(module)
        self._module = module
        self._state = module.state_dict()
        self._renamings = [e for e in entries if isinstance(e, self._loading.WeightRenaming)]
        self._fusions = [e for e in entries if isinstance(e, self._loading.WeightConverter)]

    def conversions(self, checkpoint: Checkpoint) -> list[Conversion]:
        """Return the conversions of all tensors of a checkpoint."""
        renamed: dict[str, str] = {}
        fused: dict[str, list[tuple[str, str]]] = {}
        for stored in sorted(checkpoint, key=_natural):
            name, pattern = self._target(stored)
            if pattern is not None and name in self._state:
                fused.setdefault(name, []).append((stored, pattern))
            elif name in self._state and name not in renamed:
                renamed[name] = stored
            elif not self._is_ignored(name):
                renamed[stored] = stored
        result = [rename(stored, name) for name, stored in renamed.items()]
        return result + [self._fusion(name, p, checkpoint) for name, p in fused.items()]

    def _target(self, stored: str) -> tuple[str, str | None]:
        prefix = self._module.base_model_prefix
        find = self._loading.rename_source_key
        name, pattern = find(stored, self._renamings, self._fusions, prefix, self._state)
        if name not in self._state and stored in self._state:
            name, pattern = find(stored, [], [], prefix, self._state)
        return name, pattern

    def _is_ignored(self, name: str) -> bool:
        patterns = getattr(self._module, "_keys_to_ignore_on_load_unexpected", None) or ()
        return any(re.search(pattern, name) for pattern in patterns)

    def _fusion(
        self, first: str, parts: list[tuple[str, str]], checkpoint: Checkpoint
    ) -> Conversion:
        """Return the conversion of all stored tensors that belong to one stacked tensor."""
        fusion = next(f for f in self._fusions if parts[0][1] in f.source_patterns)

        def convert(tensors: Tensors) -> Tensors:
            converter = copy.deepcopy(fusion)
            for stored, pattern in parts:
                converter.add_tensor(first, stored, pattern, tensors[stored])
            converted = converter.convert(first, model=self._module, config=self._module.config)
            return {name: _only(value) for name, value in converted.items()}

        def revert(tensors: Tensors) -> Tensors:
            return self._loading.revert_weight_conversion(self._module, tensors)

        stored = tuple(name for name, _ in parts)
        infos = {name: checkpoint.metadata(name) for name in stored}
        converted = convert(on_meta(infos))
        reverted = {name: TensorInfo.of(t) for name, t in revert(dict(converted)).items()}
        # If the inverse is not exact, the shapes of the module are written:
        # transformers reads both forms.
        return Conversion(stored, tuple(converted), convert, revert if reverted == infos else dict)


def _only(value: Tensor | list[Tensor]) -> Tensor:
    return value[0] if isinstance(value, list) else value


def _natural(name: str) -> list[tuple[int, str]]:
    """Order `experts.2` before `experts.10`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]

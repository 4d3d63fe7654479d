"""Differences between the configuration and preprocessor files of two folders.

A field of the configuration class changes the outputs, unless it is listed here. An unnecessary
error costs little, but a wrong merge is useless. The model does not read fields that the class does
not define, so they only give a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onebasin._packages import import_package, import_torchvision
from onebasin.checkpoints._folders.difference import Difference, Effect, flatten, read_mapping
from onebasin.checkpoints._sources.transformers_config import CONFIG, read_config, read_object
from onebasin.errors import OneBasinError

# By the last part of a dotted name.
_NO_EFFECT = frozenset(
    "_attn_implementation _attn_implementation_internal _commit_hash _name_or_path auto_map "
    "attn_implementation dtype experts_implementation finetuning_task gradient_checkpointing "
    "init_std initializer_factor initializer_range label2id name_or_path output_attentions "
    "output_hidden_states pretraining_tp return_dict task_specific_params torch_dtype torchscript "
    "transformers_version use_cache use_pretrained_backbone".split()
)
_TRAINING = ("dropout", "pdrop", "drop_path", "layerdrop", "label_smoothing", "drop_rate")
_TRAINING_FIELDS = frozenset(
    "aux_loss_coef classifier_dropout ctc_loss_reduction ctc_zero_infinity mask_feature_length "
    "mask_feature_prob mask_time_length mask_time_prob apply_spec_augment problem_type "
    "router_aux_loss_coef router_z_loss_coef semantic_loss_ignore_index use_auxiliary_head "
    "auxiliary_loss_weight".split()
)
# Generation reads them. Other settings of generation are not fields of configuration classes.
_GENERATION = frozenset(
    "begin_suppress_tokens bos_token_id eos_token_id forced_bos_token_id forced_eos_token_id "
    "suppress_tokens".split()
)
# Rotary embeddings of these kinds depend on the longest sequence.
_LENGTH_DEPENDENT = ("dynamic", "longrope", "yarn", "su")
_GENERIC_LABEL = "LABEL_"


@dataclass(frozen=True)
class Configuration:
    """A configuration with the defaults of its class.

    Args:
        values: by dotted name.
        undefined: names that the class does not define.
    """

    values: Mapping[str, Any]
    undefined: frozenset[str] = field(default_factory=frozenset)


def configuration_differences(
    a: Path, b: Path, skipped: frozenset[str] = frozenset()
) -> Iterator[Difference]:
    """Yield the fields in which the configurations of two folders differ.

    Args:
        a: a folder with a config.json.
        b: another one.
        skipped: fields that the user sets for both.

    Raises:
        OneBasinError: a config.json is not valid.
    """
    config_a, config_b = _read_both(a, b)
    names = [*config_a.values, *(name for name in config_b.values if name not in config_a.values)]
    for name in names:
        value_a, value_b = config_a.values.get(name), config_b.values.get(name)
        if name in skipped or _is_equal(name, value_a, value_b):
            continue
        effect = _effect(name, config_a, config_b)
        if effect is not Effect.NONE:
            yield Difference(CONFIG, name, value_a, value_b, effect)
    yield from _label_differences(config_a.values, config_b.values)


def _is_equal(name: str, a: Any, b: Any) -> bool:
    if name.endswith("architectures") and isinstance(a, list) and isinstance(b, list):
        return [str(name).casefold() for name in a] == [str(name).casefold() for name in b]
    return a == b


def _effect(name: str, a: Configuration, b: Configuration) -> Effect:
    key = name.rpartition(".")[2]
    if key in _NO_EFFECT or "id2label" in name or "label2id" in name:
        return Effect.NONE  # labels are compared as a whole
    if key == "architectures" and None in (a.values.get(name), b.values.get(name)):
        return Effect.USE
    if key in _TRAINING_FIELDS or any(word in key for word in _TRAINING):
        return Effect.USE
    if key in _GENERATION:
        return Effect.FUNCTION if _pools_by_token(name, a) else Effect.USE
    if key == "pad_token_id" and _is_causal_language_model(a):
        return Effect.USE  # other models compute positions or pool by it
    if key == "max_position_embeddings" and not _depends_on_length(a):
        return Effect.USE  # a table of positions has this many rows, which are compared too
    if name in a.undefined | b.undefined:
        return Effect.USE
    return Effect.FUNCTION


def _pools_by_token(name: str, config: Configuration) -> bool:
    """Return whether a model reads its output at the position of the end-of-text token.

    CLIP and encoder-decoder classifiers do.
    """
    prefix = name.rpartition(".")[0]
    kind = config.values.get(f"{prefix}.model_type" if prefix else "model_type")
    classes = config.values.get("architectures") or []
    is_classifier = any(str(c).endswith("ForSequenceClassification") for c in classes)
    return name.endswith("eos_token_id") and ("clip" in str(kind) or is_classifier)


def _is_causal_language_model(config: Configuration) -> bool:
    names = config.values.get("architectures") or []
    return any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in names)


def _depends_on_length(config: Configuration) -> bool:
    return any(
        value in _LENGTH_DEPENDENT
        for name, value in config.values.items()
        if name.endswith(("rope_type", ".type"))
    )


def _label_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Difference]:
    labels_a, labels_b = _labels(a), _labels(b)
    if not labels_a or not labels_b:
        return
    if labels_a.keys() != labels_b.keys():
        yield Difference(CONFIG, "number of labels", len(labels_a), len(labels_b), Effect.FUNCTION)
        return
    for index, label in labels_a.items():
        other = labels_b[index]
        if label.casefold() == other.casefold():
            continue
        is_generic = label.startswith(_GENERIC_LABEL) or other.startswith(_GENERIC_LABEL)
        effect = Effect.USE if is_generic else Effect.FUNCTION
        yield Difference(CONFIG, f"id2label[{index}]", label, other, effect)
        return  # one label is enough to show that the order or the meaning differs


def _labels(values: Mapping[str, Any]) -> dict[str, str]:
    prefix = "id2label."
    return {k.removeprefix(prefix): str(v) for k, v in values.items() if k.startswith(prefix)}


def _read_both(a: Path, b: Path) -> tuple[Configuration, Configuration]:
    """Return both configurations; without defaults if transformers cannot read one."""
    try:
        import_torchvision()
    except OneBasinError:
        pass  # most configurations do not need it
    try:
        transformers = import_package("transformers", extra="hub")
        configs = [read_config(transformers, str(folder), {}) for folder in (a, b)]
    except OneBasinError:
        written_a, written_b = (flatten(read_object(folder / CONFIG)) for folder in (a, b))
        # Without its class, the default of a field that one file omits is unknown.
        omitted = frozenset(written_a.keys() ^ written_b.keys())
        return Configuration(written_a, omitted), Configuration(written_b, omitted)
    first, second = map(_with_defaults, configs)
    return first, second


def _with_defaults(config: Any, prefix: str = "") -> Configuration:
    values: dict[str, Any] = {}
    undefined: set[str] = set()
    defined = getattr(type(config), "__dataclass_fields__", None)
    for key, value in config.to_dict().items():
        part = getattr(config, key, None)
        if hasattr(part, "to_dict") and hasattr(part, "model_type"):
            inner = _with_defaults(part, f"{prefix}{key}.")
            values |= inner.values
            undefined |= inner.undefined
            continue
        flat = flatten({key: value}, prefix)
        values |= flat
        if defined is not None and key not in defined and not hasattr(type(config), key):
            undefined |= flat.keys()
    return Configuration(values, frozenset(undefined))


_FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
# They change the numbers that a model receives for one image or sound.
_VALUES = frozenset(
    "do_normalize do_rescale feature_size fft_window_size hop_length image_mean image_std mean "
    "n_fft num_mel_bins rescale_factor return_attention_mask sampling_rate std".split()
)
_NO_EFFECT_ON_INPUTS = frozenset(
    "_processor_class auto_map feature_extractor_type image_processor_type processor_class "
    "video_processor_type".split()
)


def preprocessor_differences(a: Path, b: Path) -> Iterator[Difference]:
    """Yield the different settings of two preprocessors.

    Args:
        a: a folder, with or without a preprocessor.
        b: another one.

    Raises:
        OneBasinError: a file of a preprocessor is not valid JSON.
    """
    for file in _FILES:
        contents = [read_mapping(folder, file) for folder in (a, b)]
        if contents[0] is None or contents[1] is None:
            continue
        values_a, values_b = map(flatten, (contents[0], contents[1]))
        for name in sorted(values_a.keys() & values_b.keys()):
            key = name.rpartition(".")[2]
            if values_a[name] == values_b[name] or key in _NO_EFFECT_ON_INPUTS:
                continue
            effect = Effect.FUNCTION if key in _VALUES else Effect.USE
            yield Difference(file, name, values_a[name], values_b[name], effect)

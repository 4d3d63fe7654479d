"""Differences between the tokenizers of two folders, compared by their files."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onebasin.checkpoints._folders.difference import Difference, Effect, read_mapping

_FAST = "tokenizer.json"
_SETTINGS = "tokenizer_config.json"
_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "source.spm")
_TEXT_SETTINGS = ("do_lower_case", "strip_accents", "add_prefix_space", "tokenize_chinese_chars")
_SPECIAL = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_USE_SETTINGS = (*_SPECIAL, "add_bos_token", "add_eos_token", "padding_side")

_STEPS = {
    "normalizer": Effect.FUNCTION,
    "pre_tokenizer": Effect.FUNCTION,
    "post_processor": Effect.USE,
}
_NO_TOKENS = {"type": "BPE", "vocab": {}, "merges": []}


def tokenizer_differences(a: Path, b: Path) -> Iterator[Difference]:
    """Yield the differences between the tokenizers of two folders.

    Args:
        a: a folder, with or without a tokenizer.
        b: another one.

    Raises:
        OneBasinError: a JSON file of a tokenizer is not valid.
    """
    fast_a, fast_b = read_mapping(a, _FAST), read_mapping(b, _FAST)
    yield from _token_differences(_tokens(a, fast_a), _tokens(b, fast_b), fast_a and fast_b)
    if fast_a is not None and fast_b is not None:
        yield from _pipeline_differences(fast_a, fast_b)
    elif (a / "merges.txt").is_file() and (b / "merges.txt").is_file():
        yield from _list_difference("merges.txt", "merges", _lines(a), _lines(b))
    for name in _SENTENCEPIECE:
        digest_a, digest_b = _digest(a / name), _digest(b / name)
        if digest_a is not None and digest_b is not None and digest_a != digest_b:
            yield Difference(name, "content (SHA-256)", digest_a, digest_b, Effect.FUNCTION)
    yield from _setting_differences(a, b)


def _tokens(folder: Path, fast: Mapping[str, Any] | None) -> dict[int, str] | None:
    """Return the tokens of a folder by id, or None if its files do not list them."""
    if fast is not None:
        model = fast.get("model")
        vocab = model.get("vocab") if isinstance(model, dict) else None
        tokens = _by_id(vocab)
        added_tokens = fast.get("added_tokens")
        for added in added_tokens if isinstance(added_tokens, list) else []:
            if isinstance(added, dict) and isinstance(added.get("id"), int):
                tokens[added["id"]] = str(added.get("content"))
        return tokens
    vocab = read_mapping(folder, "vocab.json")
    if vocab is not None:
        return _by_id(vocab)
    if (folder / "vocab.txt").is_file():
        return dict(enumerate(_lines(folder, "vocab.txt")))
    return None


def _by_id(vocab: Any) -> dict[int, str]:
    if isinstance(vocab, dict):
        return {index: token for token, index in vocab.items() if isinstance(index, int)}
    if isinstance(vocab, list):  # pairs of a token and its score
        tokens = [entry[0] if isinstance(entry, list) and entry else entry for entry in vocab]
        return {index: str(token) for index, token in enumerate(tokens)}
    return {}


def _token_differences(
    a: dict[int, str] | None, b: dict[int, str] | None, are_fast: Any
) -> Iterator[Difference]:
    if a is None or b is None:
        return
    file = _FAST if are_fast else "vocabulary"
    for index in sorted(a.keys() & b.keys()):
        if a[index] != b[index]:
            yield Difference(file, f"token {index}", a[index], b[index], Effect.FUNCTION)
            return
    if a.keys() != b.keys():
        yield Difference(file, "number of tokens", len(a), len(b), Effect.USE)


def _pipeline_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield differences between two tokenizer.json files other than the vocabulary."""
    model_a, model_b = _model(a), _model(b)
    merges_a, merges_b = (_merges(model.pop("merges", None)) for model in (model_a, model_b))
    yield from _list_difference(_FAST, "model.merges", merges_a, merges_b)
    for key in sorted(model_a.keys() | model_b.keys()):
        if key == "type" and not (model_a.keys() & model_b.keys() & {"type"}):
            continue  # older files omit it
        # Older files omit settings with the value false.
        if (model_a.get(key) or None) != (model_b.get(key) or None):
            values = model_a.get(key), model_b.get(key)
            yield Difference(_FAST, f"model.{key}", *values, Effect.FUNCTION)
    steps_a, steps_b = _steps(a), _steps(b)
    if steps_a != steps_b:
        complete = [s for s in map(_with_defaults, (steps_a, steps_b)) if s is not None]
        if len(complete) == 2:
            steps_a, steps_b = complete
    for key, effect in _STEPS.items():
        if steps_a[key] != steps_b[key]:
            field, value_a, value_b = _first_difference(key, steps_a[key], steps_b[key])
            yield Difference(_FAST, field, value_a, value_b, effect)


def _steps(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: content.get(key) for key in _STEPS}


def _with_defaults(steps: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the steps of a tokenizer.json with the defaults that older versions omit.

    Returns:
        The steps, or None if tokenizers is not installed or does not know a step.
    """
    try:
        library: Any = importlib.import_module("tokenizers")
        plain = {"version": "1.0", "added_tokens": [], "model": _NO_TOKENS, **steps}
        return _steps(json.loads(library.Tokenizer.from_str(json.dumps(plain)).to_str()))
    # The library raises a plain Exception for steps that its version does not have.
    except Exception:
        return None


def _first_difference(field: str, a: Any, b: Any) -> tuple[str, Any, Any]:
    """Return the name and both values of the first different entry of two JSON values."""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    if isinstance(a, dict) and isinstance(b, dict) and a.get("type") == b.get("type"):
        for key in [*a, *(key for key in b if key not in a)]:
            if a.get(key) != b.get(key):
                return _first_difference(f"{field}.{key}", a.get(key), b.get(key))
    return field, a, b


def _model(content: Mapping[str, Any]) -> dict[str, Any]:
    model = content.get("model")
    settings = dict(model) if isinstance(model, dict) else {}
    settings.pop("vocab", None)
    settings.pop("dropout", None)
    return settings


def _merges(merges: Any) -> list[str]:
    """Return merges as texts of two tokens, the form of older files."""
    if not isinstance(merges, list):
        return []
    return [" ".join(map(str, m)) if isinstance(m, list) else str(m) for m in merges]


def _list_difference(file: str, field: str, a: list[str], b: list[str]) -> Iterator[Difference]:
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            yield Difference(file, f"{field}[{index}]", left, right, Effect.FUNCTION)
            return
    if len(a) != len(b):
        yield Difference(file, f"number of {field}", len(a), len(b), Effect.FUNCTION)


def _setting_differences(a: Path, b: Path) -> Iterator[Difference]:
    settings_a, settings_b = (read_mapping(folder, _SETTINGS) or {} for folder in (a, b))
    for key in _TEXT_SETTINGS:
        pair = settings_a.get(key), settings_b.get(key)
        if None not in pair and pair[0] != pair[1]:
            yield Difference(_SETTINGS, key, *pair, Effect.FUNCTION)
    for key in _USE_SETTINGS:
        pair = _content(settings_a.get(key)), _content(settings_b.get(key))
        if None not in pair and pair[0] != pair[1]:
            yield Difference(_SETTINGS, key, *pair, Effect.USE)
    template_a, template_b = _template(a, settings_a), _template(b, settings_b)
    if template_a != template_b:
        yield Difference(_SETTINGS, "chat_template", template_a, template_b, Effect.USE)


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _template(folder: Path, settings: Mapping[str, Any]) -> Any:
    file = folder / "chat_template.jinja"
    return file.read_text("utf-8", "replace") if file.is_file() else settings.get("chat_template")


def _lines(folder: Path, name: str = "merges.txt") -> list[str]:
    lines = (folder / name).read_text("utf-8", "replace").rstrip("\n").split("\n")
    return [line.rstrip("\r") for line in lines if not line.startswith("#version")]


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

"""Pairs of small transformers, their data and training; a trained network is kept in a file.

Run it as a program to train networks only. A run that is stopped continues with the next network.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rotations_networks import PADDING, LayerNormDecoder, RotaryDecoder, SentenceClassifier
from rotations_training import fit
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from onebasin.data.augmentation import Augmentation
from onebasin.data.datasets import data_root, load_dataset
from onebasin.evaluation import evaluator
from onebasin.networks import VisionTransformer
from onebasin_studies.training.recipe import Recipe

NUM_CONTEXT = 64
"""Characters that a model of characters reads."""
NUM_CHARACTERS = 65
"""Different characters of Tiny Shakespeare."""
STRIDE = 16
"""Distance between the starts of two training texts."""

NUM_WORDS = 32
"""Words of a sentence that the classifier reads."""
VOCABULARY = 10_000
UNKNOWN = 1
"""The token of rare words."""


@dataclass(frozen=True)
class PairData:
    """Examples in random order.

    Args:
        inputs: training inputs.
        labels: a training label for each input or token.
        test_inputs: test inputs.
        test_labels: test labels.
    """

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class TransformerCase:
    """A kind of transformer, and its training.

    Args:
        build: function that returns the network.
        data: function of the folder of the data that returns the examples.
        recipe: hyperparameters of the training.
        num_learning: training examples for methods with labels.
        learning_batch: examples of a step of these methods.
        augmentation: augmentation of training images.
    """

    build: Callable[[], nn.Module]
    data: Callable[[Path | None], PairData]
    recipe: Recipe
    num_learning: int
    learning_batch: int = 128
    augmentation: Augmentation | None = None


def _recipe(epochs: int, batch_size: int, learning_rate: float, **options: Any) -> Recipe:
    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adamw",
        learning_rate=learning_rate,
        schedule="cosine",
        warmup_epochs=0.1 * epochs,
        weight_decay=0.05,
        stop_loss=None,
        **{"precision": "float32", **options},
    )


def mnist(root: Path | None) -> PairData:
    """Return 20,000 training images of MNIST, and the test images."""
    data = load_dataset("mnist", root=root, layout="images")
    return PairData(
        data.train_inputs[:20_000].float(),
        data.train_labels[:20_000],
        data.test_inputs.float(),
        data.test_labels,
    )


def cifar10(root: Path | None) -> PairData:
    """Return CIFAR-10."""
    data = load_dataset("cifar10", root=root)
    return PairData(
        data.train_inputs.float(), data.train_labels, data.test_inputs.float(), data.test_labels
    )


def shakespeare(root: Path | None) -> PairData:
    """Return texts of Tiny Shakespeare; the label of a character is the next one.

    Training texts overlap, test texts do not.
    """
    train, test = ("".join(_column("tiny_shakespeare", s, "text", root)) for s in ("train", "test"))
    numbers = {character: number for number, character in enumerate(sorted(set(train)))}
    assert len(numbers) == NUM_CHARACTERS
    parts = []
    for text, stride in ((train, STRIDE), (test, NUM_CONTEXT)):
        tokens = torch.tensor([numbers[character] for character in text])
        windows = tokens.unfold(0, NUM_CONTEXT + 1, stride)
        windows = windows[torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))]
        parts += [windows[:, :-1].contiguous(), windows[:, 1:].contiguous()]
    return PairData(*parts)


def sst2(root: Path | None) -> PairData:
    """Return the sentences of SST-2 as the most frequent words of the training split."""
    texts = {s: [t.split() for t in _column("sst2", s, "text", root)] for s in ("train", "test")}
    counts = Counter(word.lower() for text in texts["train"] for word in text)
    frequent = counts.most_common(VOCABULARY - 2)
    numbers = {word: number for number, (word, _) in enumerate(frequent, UNKNOWN + 1)}
    parts = []
    for split, sentences in texts.items():
        tokens = torch.full((len(sentences), NUM_WORDS), PADDING)
        for row, words in zip(tokens, sentences, strict=True):
            found = [numbers.get(word.lower(), UNKNOWN) for word in words[:NUM_WORDS]]
            row[: len(found)] = torch.tensor(found)
        parts += [tokens, torch.tensor(_column("sst2", split, "label", root))]
    order = torch.randperm(len(parts[0]), generator=torch.Generator().manual_seed(0))
    return PairData(parts[0][order], parts[1][order], *parts[2:])


def _column(name: str, split: str, column: str, root: Path | None) -> list[Any]:
    """Return a column of a parquet file below the folder of the data."""
    from pyarrow import parquet

    folder = data_root(root)
    if folder is None:
        sys.exit("transformers: no folder of data; pass --data-root or set ONEBASIN_DATA")
    return parquet.read_table(folder / name / f"{split}.parquet")[column].to_pylist()


def _vision(**sizes: int) -> Callable[[], nn.Module]:
    return lambda: VisionTransformer(**sizes)


CASES: Mapping[str, TransformerCase] = {
    "mnist-vit": TransformerCase(
        _vision(
            depth=3, width=64, num_heads=4, hidden=128, patch_size=7, in_channels=1, image_size=28
        ),
        mnist,
        _recipe(5, 128, 2e-3),
        num_learning=20_000,
    ),
    "cifar-vit": TransformerCase(
        _vision(depth=4, width=96, num_heads=4, hidden=192, patch_size=4),
        cifar10,
        _recipe(6, 64, 1e-3, precision="bfloat16"),
        num_learning=10_000,
        augmentation=Augmentation(zoom=(0.9, 1.2), degrees=0.0),
    ),
    "char-layernorm": TransformerCase(
        lambda: LayerNormDecoder(
            NUM_CHARACTERS, NUM_CONTEXT, depth=3, width=128, num_heads=4, hidden=256
        ),
        shakespeare,
        _recipe(1, 32, 2e-3),
        num_learning=8_000,
        learning_batch=64,
    ),
    "char-rotary": TransformerCase(
        lambda: RotaryDecoder(
            NUM_CHARACTERS,
            NUM_CONTEXT,
            depth=3,
            width=128,
            num_heads=4,
            num_key_heads=2,
            hidden=256,
        ),
        shakespeare,
        _recipe(1, 32, 2e-3),
        num_learning=8_000,
        learning_batch=64,
    ),
    "sst2": TransformerCase(
        lambda: SentenceClassifier(
            VOCABULARY, NUM_WORDS, depth=2, width=64, num_heads=4, hidden=128
        ),
        sst2,
        _recipe(3, 64, 1e-3),
        num_learning=20_000,
    ),
}
"""The kinds of transformers by name."""


def network(kind: str, seed: int, data: PairData, cache: Path) -> dict[str, Tensor]:
    """Return the parameters of a network; it is trained if the folder does not have its file.

    Args:
        kind: one of `CASES`.
        seed: random seed of the weights and of the order of examples.
        data: the examples.
        cache: folder of the trained networks.
    """
    path = network_path(kind, seed, cache)
    if not path.exists():
        _train(kind, seed, data, path)
    return load_file(path)


def network_path(kind: str, seed: int, cache: Path) -> Path:
    """Return the file of a network."""
    return cache / kind / f"{seed}.safetensors"


def _train(kind: str, seed: int, data: PairData, path: Path) -> None:
    """Train a network, and write it with its seconds, test loss and test accuracy."""
    case, start = CASES[kind], time.perf_counter()
    torch.manual_seed(seed)
    model = case.build()
    fit(model, data.inputs, data.labels, case.recipe, seed=seed, augmentation=case.augmentation)
    seconds = time.perf_counter() - start
    found = evaluator(data.test_inputs, data.test_labels, batch_size=250)(model)
    figures = {"seconds": seconds, "loss": found.loss, "accuracy": found.accuracy}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    texts = {name: str(value) for name, value in figures.items()}
    save_file(model.state_dict(), partial, metadata=texts)
    partial.replace(path)
    print(json.dumps({"kind": kind, "seed": seed, **figures}), flush=True)


def training_figures(kind: str, seed: int, cache: Path) -> dict[str, float]:
    """Return seconds of the training, test loss and test accuracy of a network."""
    with safe_open(network_path(kind, seed, cache), "pt") as file:
        return {name: float(value) for name, value in file.metadata().items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Train the networks that the folder does not have, one pair of each kind after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--num-pairs", type=int, default=5, help="pairs of each kind")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-root", type=Path, help="folder of the data; else ONEBASIN_DATA")
    parser.add_argument("--cache", type=Path, default=Path("rotations-cache"))
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    loaded: dict[Callable[[Path | None], PairData], PairData] = {}
    for seed in range(2 * options.num_pairs):
        for kind in options.pairs:
            if network_path(kind, seed, options.cache).exists():
                continue
            load = CASES[kind].data
            if load not in loaded:
                loaded[load] = load(options.data_root)
            network(kind, seed, loaded[load], options.cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())

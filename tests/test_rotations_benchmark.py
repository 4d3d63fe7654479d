"""Networks, methods and page of the benchmark of transformers."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from onebasin import infer_symmetry
from onebasin.graph.batches import Batches
from tests.test_benchmark_pages import import_benchmark


@pytest.fixture
def networks(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return import_benchmark("rotations_networks", repository, monkeypatch)


def decoders(networks: ModuleType) -> list[torch.nn.Module]:
    torch.manual_seed(0)
    sizes = {"depth": 1, "width": 16, "num_heads": 4, "hidden": 8}
    return [
        networks.LayerNormDecoder(11, 6, **sizes).eval(),
        networks.RotaryDecoder(11, 6, num_key_heads=2, **sizes).eval(),
    ]


def test_decoders_are_causal(networks: ModuleType) -> None:
    tokens = torch.randint(0, 11, (2, 6), generator=torch.Generator().manual_seed(0))
    other = tokens.clone()
    other[:, 3:] = (other[:, 3:] + 1) % 11
    for decoder in decoders(networks):
        outputs, changed = decoder(tokens), decoder(other)
        torch.testing.assert_close(outputs[:, :3], changed[:, :3])
        assert (outputs[:, 3:] - changed[:, 3:]).abs().amax() > 1e-3


def test_rotary_scores_depend_on_distances(networks: ModuleType) -> None:
    rotary = networks.RotaryEmbedding(8, 4)
    query, key = torch.randn(2, 1, 1, 1, 4, generator=torch.Generator().manual_seed(0))
    scores = (rotary(query.expand(1, 1, 8, 4)) @ rotary(key.expand(1, 1, 8, 4)).mT)[0, 0]
    torch.testing.assert_close(scores[0, 2], scores[5, 7])
    assert (scores[0, 2] - scores[0, 3]).abs() > 1e-3


def test_classifier_ignores_padding(networks: ModuleType) -> None:
    torch.manual_seed(0)
    classifier = networks.SentenceClassifier(11, 6, depth=1, width=8, num_heads=2, hidden=8).eval()
    tokens = torch.tensor([[3, 5, 7, 0, 0, 0]])
    before = classifier(tokens)
    with torch.no_grad():
        classifier.positions.weight[3:] += 1.0
    torch.testing.assert_close(classifier(tokens), before)


def test_symmetries_have_maps_that_mix_units(networks: ModuleType) -> None:
    tokens = torch.zeros(2, 6, dtype=torch.int64)
    found = [
        {group.symmetry_class for group in infer_symmetry(each, tokens).groups.values()}
        for each in decoders(networks)
    ]
    assert {"orthogonal with ones", "general linear"} <= found[0]
    assert {"orthogonal", "general linear", "monomial"} <= found[1]


def test_methods_and_controls(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_benchmark("rotations_methods", repository, monkeypatch)
    decoder = decoders(import_benchmark("rotations_networks", repository, monkeypatch))[0]
    tokens = torch.randint(0, 11, (32, 6), generator=torch.Generator().manual_seed(0))
    params = {name: tensor.detach() for name, tensor in decoder.state_dict().items()}
    symmetry = infer_symmetry(decoder, tokens[:2])
    data = Batches(tokens, None, 8), Batches(tokens, tokens, 8)
    task = module.Task(symmetry, decoder, params, params, *data, passes=1)
    start = loss_of(decoder, params, tokens)
    for method in module.METHODS.values():
        for end in method(task):
            assert loss_of(decoder, end, tokens) == pytest.approx(start, rel=1e-3)
    kept = {name: tensor.clone() for name, tensor in params.items()}
    loss = {
        name: loss_of(decoder, control(task), tokens) for name, control in module.CONTROLS.items()
    }
    assert loss["average, fine-tuned"] < 0.99 * start
    # Labels have no influence; A already has the mean outputs.
    assert loss["A, distilled from both"] == pytest.approx(start, rel=5e-3)
    assert all(torch.equal(params[name], kept[name]) for name in params)


def loss_of(model: torch.nn.Module, params: Any, tokens: torch.Tensor) -> float:
    outputs = torch.func.functional_call(model, dict(params), (tokens,))
    return float(torch.nn.functional.cross_entropy(outputs.flatten(0, 1), tokens.flatten()))


def rows(learned: float) -> list[dict[str, Any]]:
    ends = {"loss of A": 0.2, "loss of B": 0.3, "accuracy of A": 0.95, "accuracy of B": 0.94}
    barriers = {"weights": 1.0, "combined": 0.5, "straight-through": 0.4, "learned": learned}
    return [
        {"kind": "mnist-vit", "seed": seed, "method": method, "repair": repair, **ends}
        | {"loss": 0.3, "accuracy": 0.935, "barrier": barrier * (1 + seed / 10), "seconds": 9.0}
        for seed in (0, 2)
        for method, barrier in barriers.items()
        for repair in ("none", "refit")
    ]


@pytest.mark.parametrize(
    ("learned", "multiple", "met"), [(0.04, "10.0", "yes"), (0.1, "4.0", "no")]
)
def test_page_checks_the_worst_pair(
    learned: float,
    multiple: str,
    met: str,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = import_benchmark("rotations_page", repository, monkeypatch)
    lines = module.page(rows(learned), {"threads": "1"}).splitlines()
    (line,) = [line for line in lines if "lowest barrier" in line]
    assert [cell.strip(" *") for cell in line.split("|")][3:7] == [
        "at least 5.0",
        multiple,
        "2",
        met,
    ]
    (line,) = [line for line in lines if "below that of the worse parent" in line]
    assert "0.50% | 2 | yes" in line
    (line,) = [line for line in lines if "barrier of *rotations*" in line]
    assert "not measured" in line


def test_interval_is_that_of_student(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_benchmark("rotations_page", repository, monkeypatch)
    # The quantile of Student's distribution with 4 degrees of freedom is 2.776.
    assert module.interval([1.0, 2.0, 3.0, 4.0, 5.0], ".3f") == "3.000 ± 1.963"
    assert module.interval([1.0], ".1f") == "1.0"

"""The forms in which networks, data and architectures are passed to functions of the library."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import onebasin
from onebasin import OneBasinError, OneBasinWarning
from onebasin.evaluation._refit.pieces import in_pieces
from onebasin.evaluation._repair import repair

pytestmark = pytest.mark.filterwarnings("ignore::onebasin.OneBasinWarning")


def mlp(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


INPUTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
LABELS = (INPUTS.sum(1) > 0).long()
BATCHES = [(INPUTS[:20], LABELS[:20]), (INPUTS[20:], LABELS[20:])]


def as_module(module: nn.Module, folder: Path, name: str) -> Any:
    return module


def as_state_dict(module: nn.Module, folder: Path, name: str) -> Any:
    return module.state_dict()


def as_nested_state_dict(module: nn.Module, folder: Path, name: str) -> Any:
    return {
        "epoch": 3,
        "state_dict": {f"module.{key}": value for key, value in module.state_dict().items()},
    }


def as_path(module: nn.Module, folder: Path, name: str) -> Any:
    path = folder / f"{name}.safetensors"
    save_file(module.state_dict(), path)
    return path


def as_text_path(module: nn.Module, folder: Path, name: str) -> Any:
    path = folder / f"{name}.pt"
    torch.save(module.state_dict(), path)
    return str(path)


def as_checkpoint(module: nn.Module, folder: Path, name: str) -> Any:
    return onebasin.open_checkpoint(as_path(module, folder, name))


FORMS = [as_module, as_state_dict, as_nested_state_dict, as_path, as_text_path, as_checkpoint]


@pytest.mark.parametrize("form", FORMS)
def test_networks_can_have_any_form(form: Any, tmp_path: Path) -> None:
    a, b = (form(mlp(seed), tmp_path, str(seed)) for seed in (1, 2))
    model = mlp(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    merged = onebasin.merge(model, [a, b], example_inputs=INPUTS[:2])
    expected = onebasin.merge(mlp(0), [mlp(1), mlp(2)], example_inputs=INPUTS[:2])
    for name, tensor in expected.state_dict.items():
        assert torch.equal(merged.state_dict[name.removeprefix("module.")], tensor)
        assert torch.equal(model.state_dict()[name], before[name])
    assert merged.permutations[0].indices["0"].tolist() != list(range(8))


def test_a_result_of_align_is_a_network() -> None:
    model, a, b = mlp(0), mlp(1), mlp(2)
    aligned = onebasin.align(model, a, b, example_inputs=INPUTS[:2])
    loaded = aligned.load_into(mlp(3))
    torch.testing.assert_close(loaded(INPUTS), b(INPUTS))
    merged = onebasin.merge(model, [a, aligned], align=False, example_inputs=INPUTS[:2])
    expected = onebasin.average([a.state_dict(), aligned.state_dict])
    assert all(torch.equal(merged.state_dict[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "data",
    [
        BATCHES,
        DataLoader(TensorDataset(INPUTS, LABELS), batch_size=20),
        (INPUTS, LABELS),
        [{"input": inputs, "labels": labels} for inputs, labels in BATCHES],
    ],
    ids=["batches", "DataLoader", "arrays", "dicts"],
)
def test_data_can_have_any_form(data: Any) -> None:
    a, b = mlp(1), mlp(2)
    result = onebasin.barrier(mlp(0), a, b, data, num_points=3)
    with torch.no_grad():
        ends = [nn.functional.cross_entropy(net(INPUTS), LABELS).item() for net in (b, a)]
    losses = result.curve.losses
    assert (losses[0], losses[-1]) == pytest.approx(tuple(ends), rel=1e-5)


def test_batches_without_labels_align_merge_and_repair() -> None:
    batches = [inputs for inputs, _ in BATCHES]
    merged = onebasin.merge(mlp(0), [mlp(1), mlp(2)], data=batches)
    assert merged.repair == "refit"
    assert merged.matching is not None
    aligned = onebasin.align(mlp(0), mlp(1), mlp(2), data=batches)
    average = onebasin.average([mlp(1).state_dict(), aligned.state_dict])
    ends = [mlp(1).state_dict(), aligned.state_dict]
    pieces = in_pieces(batches, mlp(0), 10)
    expected = repair(mlp(0), average, ends, pieces, method="refit").params
    assert all(torch.equal(merged.state_dict[name], expected[name]) for name in expected)


class Indexed(nn.Module):
    """A module with an index buffer that differs between checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
        self.register_buffer("order", torch.arange(3))

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.order, Tensor)
        return self.b(torch.relu(self.a(x[:, self.order])))


def test_the_module_of_the_user_does_not_change() -> None:
    model = Indexed().train()
    states = [Indexed().state_dict() | {"order": torch.tensor([2, 0, 1])} for _ in range(2)]
    onebasin.align(model, *states, example_inputs=INPUTS[:2])
    assert model.training
    assert model.order.tolist() == [0, 1, 2]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_output_and_save_write_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    a, b = (as_path(mlp(seed), tmp_path, str(seed)) for seed in (1, 2))
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    written = onebasin.merge(mlp(0), [a, b], example_inputs=INPUTS[:2], output=first)
    assert written.output == first
    kept = onebasin.merge(mlp(0), [a, b], example_inputs=INPUTS[:2])
    kept.save(second)
    assert first.read_bytes() == second.read_bytes()
    assert all(torch.equal(written.state_dict[n], t) for n, t in kept.state_dict.items())
    if suffix == ".safetensors":
        assert load_file(second).keys() == load_file(a).keys()


def test_a_symmetry_or_its_verification_can_be_passed() -> None:
    inspected = onebasin.inspect(mlp(0), example_inputs=INPUTS[:2], verify=True)
    for symmetry in (inspected.symmetry, inspected.verification):
        aligned = onebasin.align(
            mlp(0), mlp(1), mlp(2), symmetry=symmetry, verify=False, example_inputs=INPUTS[:2]
        )
        assert list(aligned.permutation.indices) == ["0"]


def test_options_of_the_method_are_keywords() -> None:
    run = onebasin.align(mlp(0), mlp(1), mlp(2), example_inputs=INPUTS[:2], restarts=3)
    assert len(run.matching.restarts) == 3
    same = onebasin.align(
        mlp(0), mlp(1), mlp(2), example_inputs=INPUTS[:2], method_options={"restarts": 3}
    )
    assert same.matching.objective == run.matching.objective


def test_results_print_their_summary() -> None:
    aligned = onebasin.align(mlp(0), mlp(1), mlp(2), data=BATCHES)
    lines = str(aligned).splitlines()
    assert lines[0].startswith("1 group (verified, max error ")
    assert any(line.startswith("B aligned") for line in lines)
    assert repr(aligned) == str(aligned)
    assert aligned._repr_html_() == f"<pre>{escape(aligned.summary())}</pre>"
    curve = onebasin.barrier(mlp(0), mlp(1), aligned, BATCHES, num_points=3)
    assert curve._repr_png_()[:4] == b"\x89PNG"


def test_notes_are_warnings_that_point_to_the_call() -> None:
    labels = [(inputs, 1 - labels) for inputs, labels in BATCHES]
    with pytest.warns(OneBasinWarning, match="no better than a constant prediction") as caught:
        onebasin.evaluate(mlp(0), {"a": mlp(1), "b": mlp(2)}, labels * 2)
    assert {warning.filename for warning in caught} == {__file__}


EXAMPLE: dict[str, Any] = {"example_inputs": INPUTS[:2]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: onebasin.merge([1], [mlp(1), mlp(2)]), "merge: model is of type list; pass a to"),
        (lambda: onebasin.merge(nn.Linear, [mlp(1)]), "merge: model is of type type; pass a torch"),
        (lambda: onebasin.merge(mlp(0), mlp(1)), "merge: networks is of type Sequential; pass a l"),
        (lambda: onebasin.merge(mlp(0), [mlp(1)], **EXAMPLE), "merge: 1 network given; pass two"),
        (lambda: onebasin.merge(mlp(0), [mlp(1), 3], **EXAMPLE), "merge: networks[1] is 3; pass"),
        (lambda: onebasin.align(mlp(0), mlp(1), mlp(2)), "align: example inputs are missing; pass"),
        (
            lambda: onebasin.align(mlp(0), mlp(1), nn.Linear(3, 2), **EXAMPLE),
            "align: 4 tensors missing in b ('0.weight', '0.bias', '2.weight' and 1 more)",
        ),
        (
            lambda: onebasin.align(mlp(0), mlp(1), mlp(2), method="wieghts", **EXAMPLE),
            "align: unknown method 'wieghts'; did you mean weights?",
        ),
        (
            lambda: onebasin.align(mlp(0), mlp(1), mlp(2), max_sweps=3, **EXAMPLE),
            "align: method weights has no option 'max_sweps'; options",
        ),
        (
            lambda: onebasin.align(mlp(0), mlp(1), mlp(2), method="activations", **EXAMPLE),
            "align: method activations needs data; pass data=",
        ),
        (
            lambda: onebasin.merge(mlp(0), [mlp(1), mlp(2)], repair="fix", **EXAMPLE),
            "merge: repair='fix' is unknown; choose 'auto', 'none', 'reset', 'repair', 'rescale', "
            "'refit'",
        ),
        (
            lambda: onebasin.merge(mlp(0), [mlp(1), mlp(2)], repair="reset", **EXAMPLE),
            "merge: repair='reset' runs the networks on data; pass data=",
        ),
        (
            lambda: onebasin.merge(mlp(0), [mlp(1), mlp(2)], align=False, method="weights"),
            "merge: method= has no effect with align=False; pass align=True, or remove it",
        ),
        (lambda: onebasin.align(mlp(0), mlp(1), mlp(2), data=[]), "align: data has no examples"),
        (
            lambda: onebasin.barrier(mlp(0), mlp(1), mlp(2), [INPUTS]),
            "barrier: data has no labels, and a loss needs them",
        ),
        (lambda: onebasin.barrier(mlp(0), mlp(1), mlp(2), None), "barrier: data is None; pass la"),
        (
            lambda: onebasin.barrier(mlp(0), mlp(1), mlp(2), BATCHES, num_points=1),
            "barrier: num_points is 1; it must be a whole number of at least 2",
        ),
        (
            lambda: onebasin.barrier(mlp(0), mlp(1), mlp(2), BATCHES, split="all"),
            "barrier: split is 'all'; it must be 'both' or 'train' or 'test'",
        ),
        (
            lambda: onebasin.evaluate(mlp(0), [], BATCHES),
            "evaluate: networks is empty; pass a list of networks",
        ),
        (
            lambda: onebasin.align(mlp(0), mlp(1), mlp(2), seed=-1, **EXAMPLE),
            "align: seed is -1; it must be a whole number",
        ),
        (
            lambda: onebasin.align(mlp(0), "nowhere.pt", mlp(2), **EXAMPLE),
            "nowhere.pt: no such file or folder; check the path",
        ),
        (
            lambda: onebasin.align("mlp", mlp(1), mlp(2), arch_args={"width": 8}),
            "align: 4 tensors missing in a ('layers.1.weight', 'layers.1.bias', 'layers.3.weight'",
        ),
    ],
)
def test_invalid_input_gives_one_line_with_a_remedy(call: Any, message: str) -> None:
    with pytest.raises(OneBasinError) as caught:
        call()
    text = str(caught.value)
    assert text.startswith(message)
    assert "\n" not in text


def test_an_existing_folder_is_not_replaced(tmp_path: Path) -> None:
    a, b = (as_path(mlp(seed), tmp_path, str(seed)) for seed in (1, 2))
    content = a.read_bytes()
    with pytest.raises(OneBasinError, match=r"is the input .* never replaced; choose another"):
        onebasin.merge(mlp(0), [a, b], example_inputs=INPUTS[:2], output=a)
    with pytest.raises(OneBasinError, match="folder"):
        onebasin.merge(mlp(0), [a, b], example_inputs=INPUTS[:2], output=f"{tmp_path}/")
    assert a.read_bytes() == content

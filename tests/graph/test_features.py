"""Features: one pass over data, every network in step, and clear words where data does not fit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.graph.features import BatchContext, Features, check_finite
from onebasin.graph.graph import Call, Graph
from tests.graph.networks import NETWORKS, build


def batches(inputs: Tensor, *sizes: int) -> list[tuple[Tensor, Tensor]]:
    """Cut inputs, repeated as needed, into batches of some sizes, with labels."""
    enough = torch.cat([inputs] * (1 + sum(sizes) // len(inputs)))[: sum(sizes)]
    return [(part, torch.zeros(len(part))) for part in enough.split(list(sizes))]


def seen(features: Features, *params: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return for every batch the values of all networks, `(networks, ...)`, by node."""
    found: list[dict[str, Tensor]] = []

    def visiting(passage: BatchContext):
        assert passage.number == len(found)
        found.append({})

        def hook(name: str, values: Sequence[Tensor]) -> None:
            found[-1][name] = torch.stack([value.clone() for value in values])

        return hook

    assert features.run(params, visiting) == len(found)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_lockstep_networks_equal_separate_networks(name: str) -> None:
    (a, inputs), (b, _) = build(name, 0), build(name, 1)
    features = Features(a, batches(inputs, 4, 4, 3))
    params = a.state_dict(), b.state_dict()
    both = seen(features, *params)
    alone = [seen(features, param) for param in params]
    assert [values.keys() for values in both] == [features.graph.nodes.keys()] * 3
    for number, values in enumerate(both):
        for node, value in values.items():
            for i in (0, 1):
                assert torch.equal(value[i], alone[i][number][node][0]), node
    assert not torch.equal(*both[0][node])


@pytest.mark.parametrize("name", NETWORKS)
def test_features_do_not_depend_on_batch_size(name: str) -> None:
    model, inputs = build(name)
    params = model.state_dict()
    (whole,) = seen(Features(model, [inputs[:4]]), params)
    parts = seen(Features(model, [inputs[:2], inputs[2:4]]), params)
    last = list(whole)[-1]
    torch.testing.assert_close(torch.cat([part[last] for part in parts], 1), whole[last])


def test_empty_batches_are_skipped() -> None:
    model, inputs = build("mlp")
    told: list[int] = []
    shapes: list[torch.Size] = []
    for data in (batches(inputs, 0, 4, 0, 2, 0), batches(inputs, 4, 2)):
        Features(model, data).run(
            [model.state_dict()],
            lambda _: lambda *_: None,
            finish=lambda _, outputs, batch: shapes.append(outputs[0][0].shape),
            progress=told.append,
        )
    assert [shape[0] for shape in shapes] == [4, 2, 4, 2]
    assert told == [2, 4, 1, 2]
    with pytest.raises(OneBasinError, match=r"^the data has no batches; pass at least"):
        Features(model, batches(inputs, 0))


def test_single_example_is_doubled_with_half_weight() -> None:
    model, inputs = build("mlp")
    features = Features(model, batches(inputs, 1, 2))
    weights, outputs = [], []

    def make_hook(context: BatchContext):
        return lambda name, values: None

    def finish(context: BatchContext, values, batch):
        weights.append(context.weight)
        outputs.append(values[0][0])

    features.run([model.state_dict()], make_hook, finish=finish)
    assert weights == [0.5, 1.0]
    expected = model(inputs[:1])
    assert torch.equal(features.first, torch.cat([inputs[:1]] * 2))
    torch.testing.assert_close(outputs[0], torch.cat([expected, expected]))
    assert len(outputs[1]) == 2


def test_hook_can_replace_values() -> None:
    model, inputs = build("mlp")
    outputs = []
    Features(model, [inputs]).run(
        [model.state_dict()],
        lambda _: lambda name, values: [torch.zeros_like(v) for v in values if name == "relu"],
        finish=lambda _, values, batch: outputs.append(values[0][0]),
    )
    torch.testing.assert_close(outputs[0], model[2].bias.expand(6, 3))


def test_pre_hook_receives_arguments() -> None:
    (a, inputs), (b, _) = build("mlp", 0), build("mlp", 1)
    calls: dict[str, Call] = {}
    Features(a, [inputs]).run(
        [a.state_dict(), b.state_dict()],
        lambda _: lambda name, values: None,
        make_pre_hook=lambda _: lambda call: calls.__setitem__(call.name, call),
    )
    assert list(calls) == ["linear", "relu", "linear_1"]
    for model, (args, kwargs) in zip((a, b), calls["linear_1"].arguments, strict=True):
        torch.testing.assert_close(calls["linear_1"].operator(*args, **kwargs), model(inputs))


def test_progress_and_batches_are_reported() -> None:
    model, inputs = build("mlp")
    data, told, given = batches(inputs, 3, 3), [], []
    Features(model, data).run(
        [model.state_dict()],
        lambda _: lambda name, values: None,
        finish=lambda _, outputs, batch: given.append(batch),
        progress=told.append,
    )
    assert told == [1, 2]
    assert [batch is own for batch, own in zip(given, data, strict=True)] == [True, True]


class Turning(nn.Module):
    """Takes another way for larger batches."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).relu() if len(x) > 3 else self.linear(x)


def refusal(model: nn.Module, data: object, **more: object) -> str:
    with pytest.raises(OneBasinError) as caught:
        features = Features(model, data, **more)  # type: ignore[arg-type]
        features.run([model.state_dict()], lambda _: lambda name, values: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_error_on_mismatched_data() -> None:
    model, inputs = build("mlp")
    assert refusal(model, iter([inputs])).startswith("the data is an iterator that can be")
    assert refusal(model, []) == "the data has no batches; pass at least one"
    assert refusal(model, [inputs[:, :4]]).startswith(
        "the model does not run on batch 0 of the data, with inputs of shapes ((6, 4),)"
    )
    assert refusal(model, [inputs, inputs[:, :3]]).startswith(
        "the model does not run on batch 1 of the data, with inputs of shapes ((6, 3),)"
    )
    assert refusal(Turning(), [torch.zeros(2, 5), torch.zeros(4, 5)]) == (
        "batch 1, with inputs of shapes ((4, 5),), takes another way through the model "
        "than the first one; pass batches of one shape"
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_error_on_non_finite_features_names_the_node(value: float) -> None:
    model, inputs = build("mlp")
    graph, good = Graph(model, inputs), torch.zeros(2, 2)
    check_finite([good, good], graph, "relu")
    bad = good.clone()
    bad[1, 1] = value
    with pytest.raises(OneBasinError, match=r"the features of B at '1\.relu' are not finite"):
        check_finite([good, bad], graph, "relu")
    with pytest.raises(OneBasinError, match=r"the features of J at '1\.relu'"):
        check_finite([*[good] * 9, bad], graph, "relu")


class Deep(nn.Module):
    """Three layers whose nonlinearities belong to no module of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x)) + 0
        return x


def test_duplicate_label_is_described_by_the_layer_before() -> None:
    inputs = torch.zeros(4, 3)
    graph = Graph(Deep(), inputs)
    relus = [name for name, node in graph.nodes.items() if node.operator == "relu"]
    assert [graph.describe_node(name) for name in relus] == [
        f"'relu' after 'layers.{number}.linear'" for number in range(3)
    ]
    assert graph.describe_node(graph.nodes[relus[1]].sources[0]) == "'layers.1.linear'"
    with pytest.raises(OneBasinError, match=r"^the features of A at 'relu' after 'layers.1."):
        check_finite([inputs / 0], graph, relus[1])


def test_error_on_another_dtype_names_the_caller() -> None:
    model = Deep()
    batch = torch.zeros(4, 3)
    features = Features(model, [batch, batch.long()])
    with pytest.raises(OneBasinError, match=r"^the model does not run on the batch, at 'lay"):
        features.run([model.state_dict()], lambda _: lambda *_: None)

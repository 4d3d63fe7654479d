"""Further inputs: related sizes change together, and values stay plausible."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from onebasin.symmetry import Symmetry
from onebasin.symmetry._verification import verify
from onebasin.symmetry._verification.inputs import Example, resized_examples, scaled_examples


def shapes(example: Example) -> list[list[list[str]]]:
    return [
        [[str(candidate) for candidate in choice] for choice in resizings[0]]
        for resizings in resized_examples(example, seed=0)
    ]


def test_ids_and_their_mask_change_together() -> None:
    ids, mask = torch.randint(9, (2, 16)), torch.ones(2, 16, dtype=torch.int64)
    example = Example((), {"ids": ids, "mask": mask})
    batch, length = shapes(example)
    assert batch == [
        ["ids=1x16, mask=1x16"],
        ["ids=3x16, mask=3x16", "ids=4x16, mask=4x16"],
    ]
    assert length[0] == ["ids=2x8, mask=2x8", "ids=2x15, mask=2x15"]
    assert length[1] == ["ids=2x17, mask=2x17", "ids=2x32, mask=2x32"]


def test_height_and_width_change_together() -> None:
    assert shapes(Example((torch.randn(2, 3, 64, 64),), {}))[2] == [
        ["2x3x32x32", "2x3x63x63"],
        ["2x3x65x65", "2x3x80x80", "2x3x96x96"],
    ]


def test_dimensions_of_equal_size_are_also_tried_separately() -> None:
    ways = list(resized_examples(Example((torch.randn(2, 8, 8),), {}), seed=0))[1]
    assert [str(way[1][0]) for way in ways] == ["2x9x9", "2x9x8", "2x8x9"]


def test_structure_and_constants_are_kept() -> None:
    example = Example(({"x": (torch.randn(2, 3), 5)},), {"flag": True})
    resized = next(resized_examples(example, seed=0))[0][1][0]
    assert resized.args[0]["x"][0].shape == (3, 3)
    assert resized.args[0]["x"][1] == 5
    assert resized.kwargs == {"flag": True}


def test_positions_continue_and_masks_stay_masks() -> None:
    positions, mask = torch.arange(4)[None], torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    example = Example((positions, mask, torch.randn(1, 4)), {})
    _, length = resized_examples(example, seed=0)
    resized = length[0][1][0]
    assert resized.args[0].tolist() == [[0, 1, 2, 3, 4]]
    assert resized.args[1].tolist() == [[1.0, 1.0, 1.0, 0.0, 1.0]]
    assert torch.equal(resized.args[2][:, :4], example.args[2])
    assert resized.args[2][0, 4] != example.args[2][0, 0]


def test_larger_values_do_not_change_masks_and_ids() -> None:
    x, mask, ids = torch.randn(2, 3), torch.tensor([0.0, 1.0]), torch.arange(3)
    large, pixels = scaled_examples(Example((x, mask, ids), {}), seed=0)
    assert torch.equal(large.args[0], 100 * x)
    assert 0 <= float(pixels.args[0].min()) < 128 < float(pixels.args[0].max()) <= 255
    for example in (large, pixels):
        assert torch.equal(example.args[1], mask)
        assert torch.equal(example.args[2], ids)
    assert scaled_examples(Example((mask, ids), {}), seed=0) == []


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.float8_e4m3fn, torch.bool])
def test_dtypes_with_few_operators_are_resized(dtype: torch.dtype) -> None:
    values = torch.tensor([[3, 1, 4], [1, 5, 9]]).to(dtype)
    for ways in resized_examples(Example((values,), {}), seed=0):
        for candidates in ways[0]:
            assert all(candidate.args[0].dtype == dtype for candidate in candidates)
    assert all(e.args[0].dtype == dtype for e in scaled_examples(Example((values,), {}), seed=0))


def test_sparse_tensors_keep_their_shape_and_values() -> None:
    adjacency = torch.eye(5).to_sparse()
    example = Example((torch.randn(2, 3), adjacency), {})
    assert [batch[0] for batch in shapes(example)[0]] == ["1x3, 5x5", "3x3, 5x5"]
    assert len(shapes(example)) == 2
    assert scaled_examples(example, seed=0)[0].args[1] is adjacency


def test_every_other_image_size_differs_from_the_example() -> None:
    choices = shapes(Example((torch.randn(2, 3, 64, 64),), {}))
    assert "2x3x64x64" not in {shape for axis in choices for choice in axis for shape in choice}


class Graph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return self.b(torch.relu(torch.sparse.mm(adjacency, self.a(x))))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(9, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.table(ids.long())))


def test_models_with_sparse_inputs_and_unsigned_ids_are_verified() -> None:
    spec = {"a.weight": ("h", None), "a.bias": ("h",), "b.weight": (None, "h"), "b.bias": (None,)}
    graph, inputs = Graph(), (torch.randn(5, 4), torch.eye(5).to_sparse())
    assert list(verify(Symmetry.from_spec(spec, graph), graph, inputs).controls) == ["h"]
    words, ids = Words(), torch.arange(6).reshape(2, 3).to(torch.uint16)
    spec = {"table.weight": (None, "h"), "out.weight": (None, "h"), "out.bias": (None,)}
    verification = verify(Symmetry.from_spec(spec, words), words, ids)
    assert list(verification.controls) == ["h"]
    assert "1x4" in verification.inputs

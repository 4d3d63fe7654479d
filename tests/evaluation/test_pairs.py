import itertools
import math

import numpy as np
import pytest
import torch

from onebasin.errors import OneBasinError
from onebasin.evaluation.copies import permuted_copies
from onebasin.evaluation.curves import Curve
from onebasin.evaluation.evaluator import evaluator
from onebasin.evaluation.interpolation import interpolate
from onebasin.evaluation.pairs import PairBarriers, measure_pairs
from onebasin.symmetry import Permutation, infer_symmetry
from tests.evaluation.networks import assert_same, copy_of, examples, mlp

NETWORKS = [mlp(seed).state_dict() for seed in range(5)]


def matrix_of(direct: dict[tuple[int, int], float], num: int) -> PairBarriers:
    """Barriers that are those given: curves with their middle as far above zero ends."""
    curves = {
        pair: Curve((0.0, 0.5, 1.0), (0.0, height, 0.0), (0.0, height / 2, 0.0))
        for pair, height in direct.items()
    }
    return PairBarriers(tuple("abcdefgh"[:num]), curves)


def test_every_pair_has_the_curve_between_its_networks():
    evaluate = evaluator(*examples())
    result = measure_pairs(mlp(0), NETWORKS, evaluate, num_points=5)
    assert list(result.curves) == list(itertools.combinations(range(5), 2))
    for (i, j), curve in result.curves.items():
        expected = interpolate(mlp(0), NETWORKS[i], NETWORKS[j], evaluate, num_points=5)
        assert curve.losses == pytest.approx(expected.losses, rel=1e-6)
        assert curve.errors == expected.errors
        assert result.matrix()[i, j] == result.matrix()[j, i] == curve.barrier()
        assert result.matrix("error", "mean")[i, j] == curve.barrier("error", "mean")
    assert not result.matrix().diagonal().any()


def test_networks_are_evaluated_once():
    num_calls = 0

    def evaluate(model):
        nonlocal num_calls
        num_calls += 1
        return next(model.parameters()).sum().item()

    measure_pairs(mlp(0), NETWORKS, evaluate, num_points=4)
    assert num_calls == 5 + 10 * 2


def test_networks_are_aligned_pair_by_pair():
    symmetry = infer_symmetry(mlp(0).eval(), (torch.randn(2, 4),))
    permutations = {
        pair: Permutation.random(symmetry, seed=10 * pair[0] + pair[1])
        for pair in itertools.combinations(range(3), 2)
    }
    evaluate = evaluator(*examples())
    result = measure_pairs(
        mlp(0),
        NETWORKS[:3],
        evaluate,
        num_points=3,
        move=lambda i, j: permutations[i, j].apply(NETWORKS[j]),
    )
    plain = measure_pairs(mlp(0), NETWORKS[:3], evaluate, num_points=3)
    for (i, j), curve in result.curves.items():
        moved = permutations[i, j].apply(NETWORKS[j])
        expected = interpolate(mlp(0), NETWORKS[i], moved, evaluate, num_points=3)
        assert curve.losses == pytest.approx(expected.losses, rel=1e-6)
        assert curve.losses[1] != pytest.approx(plain.curves[i, j].losses[1], rel=1e-3)


def test_equal_networks_have_exactly_no_barrier():
    networks = [NETWORKS[0], NETWORKS[1], copy_of(NETWORKS[0])]
    result = measure_pairs(mlp(0), networks, evaluator(*examples()))
    assert result.matrix()[0, 2] == result.matrix("error", "mean")[0, 2] == 0
    assert len(set(result.curves[0, 2].losses)) == 1 < len(set(result.curves[0, 1].losses))


def test_splits_and_statistics():
    networks = [mlp(seed, norm=True).state_dict() for seed in range(3)]
    train, test = examples(), examples(20, 1)
    evaluates = {"train": evaluator(*train), "test": evaluator(*test)}
    options = {"num_points": 4, "normalization": "reset", "data": [train[0]]}
    result = measure_pairs(mlp(0, norm=True), networks, evaluates, **options)
    for split, barriers in result.items():
        curve = interpolate(mlp(0, norm=True), *networks[1:], evaluates[split], **options)
        assert barriers.curves[1, 2].losses == pytest.approx(curve.losses, rel=1e-6)
        assert barriers.curves[1, 2].num_reset == 1
        assert barriers.rows()[0]["normalization"] == "reset"


def test_indirect_barrier_is_the_minimum_of_the_higher_barriers():
    rng = np.random.default_rng(0)
    pairs = list(itertools.combinations(range(6), 2))
    heights = dict(zip(pairs, rng.random(len(pairs)).tolist(), strict=True))
    barriers = matrix_of(heights, 6)

    def height(i, j):
        return heights[min(i, j), max(i, j)]

    for i, j in pairs:
        ways = [max(height(i, b), height(b, j)) for b in range(6) if b not in (i, j)]
        assert barriers.indirect()[i, j] == barriers.indirect()[j, i] == min(ways)
    assert not barriers.indirect().diagonal().any()


def test_two_networks_have_no_indirect_barrier():
    assert math.isnan(matrix_of({(0, 1): 1.0}, 2).indirect()[0, 1])
    # Between a and c only b remains, and what lies towards it is not a number.
    broken = matrix_of({(0, 1): math.nan, (0, 2): 1.0, (1, 2): 2.0}, 3)
    assert broken.indirect()[0, 2] == math.inf
    assert broken.indirect()[0, 1] == 2.0


def test_rows_are_tidy():
    rows = matrix_of({(0, 1): 1.0, (0, 2): 2.0, (1, 2): 3.0}, 3).rows()
    assert len(rows) == 3 * 2 * 2
    assert rows[1] == {
        "a": "a",
        "b": "c",
        "quantity": "loss",
        "baseline": "linear",
        "barrier": 2.0,
        "indirect": 3.0,
        "normalization": "interpolated",
    }
    no_classes = PairBarriers(("a", "b"), {(0, 1): Curve((0.0, 1.0), (1.0, 1.0), (math.nan,) * 2)})
    assert {row["quantity"] for row in no_classes.rows()} == {"loss"}


def test_pictures_show_the_barriers(tmp_path):
    from matplotlib.figure import Figure

    barriers = matrix_of({(0, 1): 1.0, (0, 2): 2.0, (1, 2): 3.0}, 3)
    ax = Figure().subplots()
    assert barriers.plot(ax, quantity="error", highest=7.0) is ax
    assert ax.get_images()[0].get_clim() == (0, 7)
    assert ax.get_images()[0].get_array().tolist() == [[0, 0.5, 1], [0.5, 0, 1.5], [1, 1.5, 0]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]
    ax = Figure().subplots()
    barriers.plot_distribution(ax)
    heights = [sum(bar.get_height() for bar in container) for container in ax.containers]
    assert heights == [3, 3]
    assert ax.get_xlabel() == "loss barrier"
    barriers.save(tmp_path / "matrix.svg")
    barriers.save(tmp_path / "matrix.csv")
    assert (
        (tmp_path / "matrix.csv").read_text().startswith("a,b,quantity,baseline,barrier,indirect")
    )


def test_invalid_sets_are_rejected():
    evaluate = evaluator(*examples())
    with pytest.raises(OneBasinError, match="measure_pairs: 1 network given; pass at least two"):
        measure_pairs(mlp(0), NETWORKS[:1], evaluate)
    with pytest.raises(OneBasinError, match="2 names for 3 networks; pass one unique name"):
        measure_pairs(mlp(0), NETWORKS[:3], evaluate, names=["a", "b"])
    with pytest.raises(OneBasinError, match="pass one unique name"):
        measure_pairs(mlp(0), NETWORKS[:2], evaluate, names=["a", "a"])
    with pytest.raises(OneBasinError, match="num_points is 1"):
        measure_pairs(mlp(0), NETWORKS[:2], evaluate, num_points=1)
    with pytest.raises(OneBasinError, match=r'measure_pairs: normalization="reset" .* pass data='):
        measure_pairs(mlp(0), NETWORKS[:2], evaluate, normalization="reset")


def test_progress_counts_the_pairs():
    calls = []
    measure_pairs(
        mlp(0),
        NETWORKS,
        evaluator(*examples()),
        num_points=3,
        progress=lambda *done: calls.append(done),
    )
    assert calls == [(done, 10) for done in range(1, 11)]


def symmetry_of_two_layers():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8), torch.nn.ReLU()
    )
    model.append(torch.nn.Linear(8, 3))
    return model, infer_symmetry(model, (torch.randn(2, 4),))


def test_permuted_copies_compute_the_same_function():
    model, symmetry = symmetry_of_two_layers()
    params = copy_of(model.state_dict())
    copies = permuted_copies(symmetry, params, 4, seed=1)
    inputs = torch.randn(20, 4)
    expected = model(inputs)
    for copy in copies:
        result = torch.func.functional_call(model, copy, (inputs,))
        torch.testing.assert_close(result, expected)
    for one, other in itertools.combinations([params, *copies], 2):
        assert not torch.equal(one["0.weight"], other["0.weight"])
    assert_same(params, model.state_dict())


def test_layers_of_copies_are_permuted_independently():
    model, symmetry = symmetry_of_two_layers()
    model[0].bias.data, model[2].bias.data = torch.arange(8.0), torch.arange(8.0)
    copies = permuted_copies(symmetry, model.state_dict(), 5)
    assert any(not torch.equal(copy["0.bias"], copy["2.bias"]) for copy in copies)


def test_copies_depend_on_seed_and_number_only():
    model, symmetry = symmetry_of_two_layers()
    three, five = (permuted_copies(symmetry, model.state_dict(), num, seed=3) for num in (3, 5))
    for one, other in zip(three, five, strict=False):
        assert_same(one, other)
    others = permuted_copies(symmetry, model.state_dict(), 5, seed=4)
    for one, other in itertools.product(five, others):
        assert not torch.equal(one["0.weight"], other["0.weight"])


def test_symmetry_without_groups_is_rejected():
    model, symmetry = symmetry_of_two_layers()
    with pytest.raises(OneBasinError, match="permuted_copies: num_copies is 0"):
        permuted_copies(symmetry, model.state_dict(), 0)
    linear = torch.nn.Linear(4, 3)
    with pytest.raises(OneBasinError, match="no permutable units"):
        permuted_copies(infer_symmetry(linear, (torch.randn(2, 4),)), linear.state_dict(), 2)


def test_repair_of_pairs_matches_interpolation():
    networks = [mlp(seed).state_dict() for seed in range(3)]
    inputs, labels = examples()
    evaluate = evaluator(inputs, labels)
    options = {"num_points": 4, "normalization": "repair", "data": [inputs]}
    moved = {(i, j): mlp(10 + j).state_dict() for i in range(3) for j in range(3)}
    result = measure_pairs(mlp(0), networks, evaluate, move=lambda i, j: moved[i, j], **options)
    alone = interpolate(mlp(0), networks[1], moved[1, 2], evaluate, **options)
    assert result.curves[1, 2].losses[1:] == pytest.approx(alone.losses[1:], rel=1e-6)
    assert {row["normalization"] for row in result.rows()} == {"repair"}


def test_duplicate_name_is_rejected():
    networks = [mlp(seed).state_dict() for seed in range(2)]
    with pytest.raises(OneBasinError, match="2 names, 'a' more than once, for 2 networks"):
        measure_pairs(mlp(0), networks, lambda m: 0.0, names=["a", "a"])

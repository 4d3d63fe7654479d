"""Studies of barriers of Entezari et al.: rows at smoke, and verdicts on given rows."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from onebasin_studies import find_study
from onebasin_studies.papers.collection import collect
from onebasin_studies.papers.entezari.difficulty import architectures
from onebasin_studies.papers.entezari.real_vs_copies import agreement_of, places_of
from onebasin_studies.papers.entezari.settings import Point, Series, data_label, published_series
from onebasin_studies.papers.entezari.small_networks import measure_all_pairs, search_pairs
from onebasin_studies.runtime.schedule import Plan
from onebasin_studies.runtime.statistics import grouped, select, values_of
from onebasin_studies.tasks import evaluate_network

NAMES = ("width", "depth", "difficulty", "real-vs-model", "label-noise", "small-networks")


@pytest.fixture(scope="module")
def smoke(run_at_smoke):
    """The folder that all studies were run into."""
    return run_at_smoke(*NAMES)


def rows_of(folder, name):
    return list(collect(folder, name).rows)


def inputs_of(task, name) -> Any:
    return task.inputs[name]


def judge(name, rows):
    return find_study(name).verdict(rows)


def made(x, levels, *, pairs=3, spread=0.01, error: Any = 0.0, split="train", **labels):
    """Rows of `measure_barrier` whose mean barriers are the levels at each size."""
    usual = {
        "family": "mlp",
        "data": "mnist",
        "width": 64,
        "depth": 1,
        "normalization": "interpolated",
    }
    errors = error if isinstance(error, dict) else dict.fromkeys(levels, error)
    return [
        {
            **usual,
            "split": split,
            "barrier": level + spread * (pair - (pairs - 1) / 2),
            "error_barrier": level / 10,
            "loss_a": 0.1,
            "error_a": errors[size],
            "pair": pair,
            **labels,
            x: size,
        }
        for size, level in levels.items()
        for pair in range(pairs)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_smoke_rows_are_finite_and_inconclusive(smoke, name):
    rows = rows_of(smoke, name)
    assert {row["split"] for row in rows} == {"train", "test"}
    values = values_of(rows, "barrier")
    assert len(values) == len(rows)
    assert min(values) >= 0 and max(values) > 0.01
    assert judge(name, rows).outcome == "not enough data"
    assert judge(name, []).outcome == "not enough data"


def test_no_network_is_trained_twice_at_small_scale():
    plans = [Plan.of({n: find_study(n).tasks(find_study(n).config("small"))}) for n in NAMES]
    together = Plan.of({n: find_study(n).tasks(find_study(n).config("small")) for n in NAMES})
    trained = [
        {key for key, task in plan.tasks.items() if task.function.endswith(":train_networks")}
        for plan in plans
    ]
    width, depth, difficulty, real, *_ = trained
    assert len(depth & difficulty) == 3 * 10
    assert len(width & difficulty) == 10 + 6
    assert len(width & real) == 9 * 10 + 5 * 6
    all_trained = [t for t in together.tasks.values() if t.function.endswith(":train_networks")]
    assert len(all_trained) == len(set.union(*trained)) < sum(map(len, trained))


def test_published_networks_are_those_of_the_paper():
    width, depth = (find_study(name).config("paper") for name in ("width", "depth"))
    sizes = {(s.family, s.data): (s.widths[0], s.widths[-1], s.pairs) for s in width.series}
    assert len(sizes) == 16
    assert sizes["mlp", "cifar100"] == (4, 32768, 5)
    assert sizes["shallow-cnn", "svhn"] == (8, 1024, 5)
    assert sizes["vgg", "mnist"] == (16, 128, 5)
    assert sizes["resnet", "cifar10"] == (16, 256, 5)
    depths = {s.family: tuple(s.depths) for s in depth.series}
    assert depths["mlp"] == (1, 2, 4, 8)
    assert depths["shallow-cnn"] == (2, 4, 6, 8)
    assert depths["vgg"] == (11, 13, 16, 19)
    rates = {s.data: s.recipe["learning_rate"] for s in width.series if s.family == "mlp"}
    assert rates == {"mnist": 0.01, "svhn": 0.001, "cifar10": 0.001, "cifar100": 0.001}
    (vgg,) = (s for s in published_series(mlp_widths=(4,), cnn_widths=(8,), vgg=((16,), (16,)))
              if s.family == "vgg" and s.data == "mnist")  # fmt: skip
    point = Point(vgg, 16, 16)
    assert point.network == {"name": "vgg16", "width": 16}
    measures = point.barriers(*point.pairs()[0], num_points=25)
    assert [m.arguments["normalization"] for m in measures] == ["interpolated", "reset"]
    assert data_label(Series("mnist").data) == "mnist"


PEAK = {4: 0.1, 16: 0.5, 64: 0.4, 256: 0.05}
FITS_AT_64 = {4: 0.1, 16: 0.03, 64: 0.005, 256: 0.0}


def test_width_requires_a_peak_near_the_fit():
    rows = made("width", PEAK, error=FITS_AT_64)
    verdict = judge("width", rows)
    assert verdict.outcome == "reproduced"
    assert "0.500 at width 16" in verdict.sentence
    assert "width 64 is the narrowest that fits" in verdict.sentence
    rising = made("width", {**PEAK, 256: 0.6}, error=FITS_AT_64)
    assert judge("width", rising).outcome == "not reproduced"
    unsure = made("width", PEAK, error=FITS_AT_64, spread=0.5)
    assert judge("width", unsure).outcome == "not reproduced"
    far = made("width", PEAK, error={**FITS_AT_64, 64: 0.02, 256: 0.001})
    assert judge("width", far).outcome == "not reproduced"
    never = judge("width", made("width", PEAK, error=0.1))
    assert never.outcome == "not enough data", "where it falls was not measured"
    assert "does not fit its data and some of which do (1% training error)" in never.sentence
    assert judge("width", rows[:-1]).outcome == "not enough data"
    cut = made("width", {16: 0.5, 64: 0.4, 256: 0.05, 512: 0.04})
    assert judge("width", cut).outcome == "not enough data", "the side that rises is missing"
    elsewhere = [{**row, "data": "svhn"} for row in cut]
    assert judge("width", [*rows, *elsewhere]).sentence.endswith("Not evaluated: mlp on svhn.")
    deep = {16: 1.0, 32: 0.9, 64: 0.8, 128: 0.9}
    assert judge("width", made("width", deep, family="vgg")).outcome == "reproduced"
    falling = made("width", {**deep, 128: 0.3}, family="vgg")
    assert judge("width", [*rows, *falling]).outcome == "not reproduced"


def test_depth_requires_a_rise_that_levels_off():
    rows = made("depth", {1: 0.1, 2: 0.8, 4: 1.4, 8: 1.6})
    assert judge("depth", rows).outcome == "reproduced"
    steep = made("depth", {1: 0.1, 2: 0.8, 4: 1.4, 8: 3.0})
    assert judge("depth", steep).outcome == "not reproduced"
    flat = made("depth", {1: 0.1, 2: 0.1, 4: 1.4, 8: 1.6})
    assert judge("depth", flat).outcome == "not reproduced"
    back = made("depth", {1: 0.1, 2: 0.8, 4: 1.4, 8: 0.2})
    assert judge("depth", back).outcome == "not reproduced", "it falls as fast as it rose"
    unsure = made("depth", {1: 0.1, 2: 0.8, 4: 1.4, 8: 1.6}, spread=0.5)
    assert judge("depth", unsure).outcome == "not reproduced"
    assert judge("depth", rows[:5]).outcome == "not enough data"
    told = judge("depth", rows).sentence
    assert "the last doubling adds 0.200 and the one before 0.600, a difference of 0.400 (" in told


@pytest.mark.parametrize(
    "barrier",
    [lambda d: 0.2 + 0.5 * math.log2(d), {1: 0.1, 2: 0.6, 4: 1.2, 8: 2.2}.__getitem__],
)
def test_barrier_that_does_not_level_off_is_not_reproduced(barrier):
    """As in the logarithm of the depth, and faster than that."""
    rows = made("depth", {depth: barrier(depth) for depth in (1, 2, 4, 8)}, pairs=5, spread=0.005)
    assert judge("depth", rows).outcome == "not reproduced"


def test_steps_of_depth_are_per_doubling():
    """From 4 to 6 is more than half a doubling, as is from 6 to 8 less than one."""
    even = {2: 0.1, 4: 0.9, 6: 0.9 + 0.9 * math.log2(6 / 4), 8: 0.9 + 0.9}
    rows = made("depth", even, family="shallow-cnn")
    assert judge("depth", rows).outcome == "not reproduced", "equal steps for each doubling"
    less = {**even, 8: even[6] + 0.45 * math.log2(8 / 6)}
    assert judge("depth", made("depth", less, family="shallow-cnn")).outcome == "reproduced"


def difficulty_rows(pairs):
    """Rows of architectures with given test errors and barriers."""
    rows = []
    for depth, (error, barrier) in enumerate(pairs, 1):
        for split in ("train", "test"):
            rows += made("depth", {depth: barrier}, error=error, split=split)
    return rows


def test_difficulty_requires_correlation_and_high_deep_barriers():
    up = difficulty_rows([(0.01 * k, 0.1 * k) for k in range(1, 9)])
    points = architectures(up)
    assert [round(point["test_error"], 3) for point in points[:2]] == [0.01, 0.02]
    assert judge("difficulty", up).outcome == "reproduced"
    assert "No deep network was measured" in judge("difficulty", up).sentence
    single = [row for row in up if row["pair"] == 0]
    assert judge("difficulty", single).outcome == "not enough data"
    down = difficulty_rows([(0.01 * k, 1 - 0.1 * k) for k in range(1, 9)])
    assert judge("difficulty", down).outcome == "not reproduced"
    equal = difficulty_rows([(0.01 * k, 0.1) for k in range(1, 9)])
    assert judge("difficulty", equal).outcome == "not reproduced"
    for barrier, outcome in ((0.9, "reproduced"), (0.05, "not reproduced")):
        deep = [
            row
            for split in ("train", "test")
            for row in made("width", {16: barrier}, error=0.001, split=split, family="vgg")
        ]
        assert judge("difficulty", [*up, *deep]).outcome == outcome
    assert judge("difficulty", up[:12]).outcome == "not enough data"


def world_rows(before, after, shift=0.0):
    """Rows of both worlds; the model's barriers after the search are shifted."""
    rows = []
    for world, state in itertools.product(("real", "model"), ("before", "after")):
        levels = dict(before if state == "before" else after)
        if world == "model" and state == "after":
            levels = {width: level + shift for width, level in levels.items()}
        rows += made("width", levels, sweep="width", world=world, state=state)
    return rows


def test_real_vs_model_requires_agreement_before_and_after():
    before, after = {4: 0.5, 16: 1.0, 64: 0.8, 256: 0.3}, dict.fromkeys((4, 16, 64, 256), 0.1)
    assert judge("real-vs-model", world_rows(before, after)).outcome == "reproduced"
    apart = judge("real-vs-model", world_rows(before, after, shift=0.4))
    assert apart.outcome == "not reproduced"
    assert "mean difference 0.400" in apart.sentence
    swapped = [
        {**row, "barrier": 1.3 - row["barrier"]}
        if (row["world"], row["state"]) == ("model", "before")
        else row
        for row in world_rows(before, after)
    ]
    assert judge("real-vs-model", swapped).outcome == "not reproduced"
    assert agreement_of(places_of(swapped, "before")).correlation == pytest.approx(-1)
    low = judge("real-vs-model", world_rows(before, after, shift=-0.08))
    assert low.outcome == "not reproduced", (
        "small relative to the barriers before, large relative to those after"
    )
    assert "std over the pairs of copies 0.010" in low.sentence
    near = judge("real-vs-model", world_rows(before, after, shift=-0.008))
    assert near.outcome == "reproduced"
    some = [row for row in world_rows(before, after) if row["world"] == "real"]
    assert judge("real-vs-model", some).outcome == "not enough data"


def test_model_pair_has_two_different_copies(smoke):
    study = find_study("real-vs-model")
    measures = [t for t in study.tasks(study.config("smoke")) if t.labels["state"] == "before"]
    models = [task for task in measures if task.labels["world"] == "model"]
    assert len(models) == len(measures) / 2
    for task in models:
        a, b = inputs_of(task, "a"), inputs_of(task, "b")
        assert a.key != b.key
        assert inputs_of(a, "params").key == inputs_of(b, "params").key
        first, second = (smoke.store.load(end.key).tensors for end in (a, b))
        hidden = "layers.0.weight"
        assert not np.array_equal(first[hidden], second[hidden])
        assert sorted(first[hidden][:, 0].tolist()) == sorted(second[hidden][:, 0].tolist())
        rows = smoke.store.load(task.key).rows
        assert all(row["loss_a"] == pytest.approx(row["loss_b"], rel=1e-4) for row in rows)
        assert rows[0]["barrier"] > 0.01


def test_matching_removes_barriers_of_copies(smoke):
    rows = rows_of(smoke, "real-vs-model")
    weights = select(rows, state="weights", world="model")
    assert max(values_of(weights, "barrier")) < 1e-4
    assert min(values_of(select(rows, state="weights", world="real"), "barrier")) > 0.01
    for part in grouped(rows, "sweep", "width", "depth", "world", "pair", "split").values():
        before, after = (select(part, state=state)[0] for state in ("before", "after"))
        if before["split"] == "train":
            assert after["midpoint_error"] <= before["midpoint_error"]


def test_label_noise_requires_the_same_shape_and_a_higher_mean():
    def rows(factor, noisy=PEAK):
        raised = {width: factor * level for width, level in noisy.items()}
        return [*made("width", PEAK, noise=0.0), *made("width", raised, noise=0.2)]

    assert judge("label-noise", rows(1.3)).outcome == "reproduced"
    assert judge("label-noise", rows(0.9)).outcome == "not reproduced"
    assert judge("label-noise", rows(2.5)).outcome == "not reproduced"
    rising = {4: 0.1, 16: 0.2, 64: 0.3, 256: 0.6}
    assert judge("label-noise", rows(1.0, rising)).outcome == "not reproduced"
    assert judge("label-noise", rows(1.3)[:12]).outcome == "not enough data"


def test_networks_of_label_noise_are_trained_on_wrong_labels(smoke):
    rows = select(rows_of(smoke, "label-noise"), split="train", width=32)
    losses = {n: values_of(part, "loss_a") for (n,), part in grouped(rows, "noise").items()}
    assert set(losses) == {0, 0.2}
    assert min(losses[0.2]) > max(losses[0])


def pair_rows(size, levels):
    """Rows of all pairs; levels are the direct and the indirect barrier of each state."""
    return [
        {
            "state": state,
            "split": "train",
            "quantity": "loss",
            "a": str(i),
            "b": str(j),
            "barrier": direct + 0.01 * i,
            "indirect": around + 0.01 * i,
        }
        for state, (direct, around) in levels.items()
        for i, j in itertools.combinations(range(size), 2)
    ]


def test_small_networks_require_two_falls():
    as_trained, best = "as trained", "best permutation"
    good = {as_trained: (1.0, 0.8), best: (0.4, 0.2)}
    assert judge("small-networks", pair_rows(8, good)).outcome == "reproduced"
    for bad in ({**good, best: (1.1, 0.2)}, {**good, best: (0.4, 0.45)}):
        assert judge("small-networks", pair_rows(8, bad)).outcome == "not reproduced"
    assert judge("small-networks", pair_rows(4, good)).outcome == "not enough data"
    only = pair_rows(8, {best: (0.4, 0.2)})
    assert judge("small-networks", only).outcome == "not enough data"


def test_batched_search_equals_single_searches(smoke):
    study = find_study("small-networks")
    config = study.config("smoke")
    before, after = study.tasks(config)
    networks = [smoke.store.load(task.key) for task in inputs_of(after, "networks")]
    setting = {"data": config.search_data, "network": after.arguments["network"]}
    again = search_pairs(**setting, reference=networks[2], others=networks[3:])
    stored = smoke.store.load(inputs_of(after, "searches")[2].key)
    for group in again.tensors:
        assert np.array_equal(again.tensors[group], stored.tensors[group])
    assert again.rows[0]["midpoint_after"] <= again.rows[0]["midpoint_before"]
    rows = rows_of(smoke, "small-networks")
    part = select(rows, split="train", quantity="loss", a="2", b="3")
    found = {row["state"]: row["barrier"] for row in part}
    ends = [evaluate_network(**setting, params=p).rows[0]["loss"] for p in networks[2:]]
    expected = again.rows[0]["midpoint_after"] - sum(ends) / 2
    assert found["best permutation"] >= expected - 1e-5
    pair = measure_all_pairs(**setting, networks=networks[2:], searches=[again], num_points=3)
    (row,) = select(pair.rows, split="train", quantity="loss")
    assert row["barrier"] == pytest.approx(max(0, expected), abs=1e-5)
    assert before.labels == {"state": "as trained", "data": "digits"}

"""The studies of Git Re-Basin at smoke: rows and verdicts."""

import math
from dataclasses import replace

import pytest
import torch

from onebasin.errors import OneBasinError
from onebasin.evaluation.planes import Plane
from onebasin_studies import find_study
from onebasin_studies.papers.collection import collect
from onebasin_studies.papers.git_rebasin.barriers import barriers_of, by_setting, paired
from onebasin_studies.papers.git_rebasin.plane import NAMES, plane_of, saddle_height
from onebasin_studies.papers.git_rebasin.settings import DIGITS_MLP, MNIST_MLP_SMALL
from onebasin_studies.runtime.schedule import Plan
from onebasin_studies.runtime.statistics import select
from onebasin_studies.tasks import train_networks
from onebasin_studies.tasks.bundles import select_network
from onebasin_studies.tasks.merging import compare_networks, merge_networks
from tests.studies.runs import as_if_of_mnist

STUDIES = ("plane", "matchers", "epochs", "width-matched", "split-data", "merge-many")
SETTING = {"data": "digits", "network": {"name": "mlp", "width": 16, "depth": 1}}
RECIPE = {"epochs": 3, "precision": "float32"}


@pytest.fixture(scope="module")
def rows_of(run_at_smoke):
    """The rows of each study, all run into one folder; as if they were not of digits."""
    folder = run_at_smoke(*STUDIES)
    found = {name: collect(folder, name) for name in STUDIES}
    for one in found.values():
        assert one.verdict().outcome == "not enough data"
        assert "Only the digits dataset was measured" in one.verdict().sentence
    return {name: as_if_of_mnist(one.rows) for name, one in found.items()}


def changed(rows, column, value, **wanted):
    """Rows with another value in a column of those that have certain values."""
    chosen = {id(row) for row in select(rows, **wanted)}
    assert chosen
    return [{**row, column: value} if id(row) in chosen else row for row in rows]


def set_curves(rows, height, **wanted):
    """Rows whose curves of some kind have a bump of a height."""
    chosen = {id(row) for row in select(rows, **wanted)}
    assert chosen
    bump = {id(row): height * 4 * row["alpha"] * (1 - row["alpha"]) for row in rows}
    return [{**row, "loss": bump[id(row)]} if id(row) in chosen else row for row in rows]


def test_studies_share_trainings_and_matchings():
    for scale, num in (("smoke", 6 + 2 * 6 + 6), ("small", 10 + 2 * 6 + 6 * 6 + 2 * 6 + 3)):
        plan = Plan.of({n: find_study(n).tasks(find_study(n).config(scale)) for n in STUDIES})
        trained = [t for t in plan.tasks.values() if t.function.endswith(":train_networks")]
        assert len(trained) == num, scale
        matched = [t for t in plan.tasks.values() if t.function.endswith(":match_pair")]
        done = {str((t.input_keys(), t.arguments["method"])) for t in matched}
        assert len(matched) == len(done), scale


@pytest.mark.parametrize("name", STUDIES)
def test_no_verdict_without_rows(name):
    study = find_study(name)
    assert study.verdict([]).outcome == "not enough data"
    assert study.figures([]) == [] or name == "merge-many"
    assert study.table([]).rows == []


def test_matchers_draws_a_curve_for_every_matcher(rows_of):
    rows = rows_of["matchers"]
    assert len(rows) == 3 * 4 * 2 * 5
    barrier = {
        row["method"]: row["barrier"]
        for row in barriers_of(select(rows, pair=0, split="train"), "method")
    }
    assert max(value for name, value in barrier.items() if name != "none") < barrier["none"] / 4


def test_matchers_must_remove_95_percent_of_the_barrier(rows_of):
    study = find_study("matchers")
    rows = set_curves(set_curves(rows_of["matchers"], 0.02), 1.0, method="none")
    assert study.verdict(rows).outcome == "reproduced"
    for height, outcome in ((0.04, "reproduced"), (0.06, "not reproduced")):
        worse = set_curves(rows, height, method="activations")
        assert study.verdict(worse).outcome == outcome
    assert study.verdict(set_curves(rows, 0.0)).outcome == "not reproduced", "nothing to bridge"
    assert study.verdict(select(rows, evaluable=False)).outcome == "not enough data"
    fewer = [row for row in rows if row["pair"] < 2]
    assert study.verdict(fewer).outcome == "not enough data"


def test_epochs_compare_each_pair_with_itself(rows_of):
    study, rows = find_study("epochs"), rows_of["epochs"]
    assert {row["epoch"] for row in rows} == {1, 4, 12}
    assert study.verdict(rows).outcome == "reproduced"
    last = max(row["epoch"] for row in rows)
    risen = changed(rows, "barrier", 0.5, epoch=last, state="matched")
    assert study.verdict(risen).outcome == "not reproduced"
    unmatched = changed(rows, "barrier", 9.0, epoch=last, state="unmatched")
    assert study.verdict(unmatched) == study.verdict(rows)
    assert study.verdict(select(rows, epoch=last)).outcome == "not enough data"
    other = [{**row, "setting": "Another", "evaluable": False} for row in risen]
    assert study.verdict([*rows, *other]).outcome == "not reproduced", "one that is not the first"


def test_evaluated_setting_comes_first():
    rows = [{"setting": name, "evaluable": name == "b"} for name in "cbac"]
    assert {name: len(part) for name, part in by_setting(rows).items()} == {"b": 1, "a": 1, "c": 2}
    assert list(by_setting(rows)) == ["b", "a", "c"]


def test_width_verdict_uses_the_slope_and_the_largest_width(rows_of):
    study, rows = find_study("width-matched"), rows_of["width-matched"]
    evaluable = [{**row, "barrier": 1.0} for row in rows]
    for width, barrier in ((8.0, 0.5), (32.0, 0.2), (128.0, 0.05)):
        evaluable = changed(evaluable, "barrier", barrier, width=width, state="matched")
    assert study.verdict(evaluable).outcome == "reproduced"
    high = changed(evaluable, "barrier", 0.15, width=128.0, state="matched")
    assert study.verdict(high).outcome == "not reproduced"
    flat = changed(evaluable, "barrier", 0.05, state="matched")
    assert study.verdict(flat).outcome == "not reproduced"
    widest = {"width": 128.0, "state": "matched"}
    unsure = changed(evaluable, "barrier", 0.0, **widest)
    unsure = changed(unsure, "barrier", 0.14, **widest, pair=2)
    assert study.verdict(unsure).outcome == "not reproduced", "a tenth is within the interval"
    none = changed(evaluable, "barrier", 0.0, width=128.0, state="matched")
    assert study.verdict(none).outcome == "reproduced"
    for value in (math.nan, math.inf):
        lost = changed(evaluable, "barrier", value, width=128.0, state="matched", pair=1)
        assert study.verdict(lost).sentence == "MLP on MNIST: a barrier is not finite."
        assert study.verdict(lost).outcome == "not enough data"
    pairs = [row for row in evaluable if row["pair"] < 2]
    assert study.verdict(pairs).outcome == "not enough data"
    assert study.verdict(select(evaluable, state="matched")).outcome == "not enough data"
    two = [row for row in evaluable if row["width"] > 8]
    assert study.verdict(two).outcome == "not enough data"


def test_width_verdict_uses_the_wider_half(rows_of):
    """A fall among narrow networks says nothing of wide ones."""
    study = find_study("width-matched")
    (one, *_) = select(rows_of["width-matched"], split="train", state="matched")

    def rows(levels):
        return [
            {
                **one,
                "width": width,
                "pair": pair,
                "state": state,
                "barrier": value * (1 + pair / 99),
            }
            for width, level in levels.items()
            for pair in range(3)
            for state, value in (("matched", level), ("unmatched", 1.0))
        ]

    falling = {8.0: 2.0, 16.0: 1.0, 32.0: 0.5, 64.0: 0.06, 128.0: 0.03, 256.0: 0.015}
    assert study.verdict(rows(falling)).outcome == "reproduced"
    assert "from width 64 on" in study.verdict(rows(falling)).sentence
    stuck = {**falling, 64.0: 0.05, 128.0: 0.05, 256.0: 0.05}
    assert study.verdict(rows(stuck)).outcome == "not reproduced"


def test_split_data_verdict_uses_loss_and_calibration(rows_of):
    study, rows = find_study("split-data"), rows_of["split-data"]
    for value in ("loss", "ece"):
        for name, level in (("A", 0.9), ("B", 0.8), ("merged", 0.5), ("probabilities", 0.3)):
            rows = changed(rows, value, level, row="candidate", name=name)
    assert study.verdict(rows).outcome == "reproduced"
    for value, level in (("loss", 0.85), ("loss", 0.2), ("ece", 0.85)):
        wrong = changed(rows, value, level, row="candidate", name="merged")
        assert study.verdict(wrong).outcome == "not reproduced"
    unsure = changed(rows, "loss", 0.95, row="candidate", name="merged", pair=0)
    assert study.verdict(unsure).outcome == "not reproduced", "lower on the mean, but not surely"
    assert "loss of A alone minus that of merged (" in study.verdict(unsure).sentence
    without = [row for row in rows if row["name"] != "B"]
    assert study.verdict(without).outcome == "not enough data"


def test_split_data_follows_its_setting(rows_of):
    rows = select(rows_of["split-data"], row="candidate", pair=0)
    kinds = {row["name"]: (row["kind"], row["networks"]) for row in rows}
    assert kinds["merged"] == kinds["all data"] == ("other", 1)
    assert kinds["probabilities"] == ("probabilities", 2)
    loss = {row["name"]: row["loss"] for row in rows}
    assert loss["all data"] < min(loss["A"], loss["B"]), "a part is less than all"
    assert loss["weights"] > 2 * loss["merged"], "unmatched networks do not merge"


def test_merge_many_verdict_uses_every_set(rows_of):
    study, rows = find_study("merge-many"), rows_of["merge-many"]
    assert len(select(rows, row="candidate", split="test", kind="member")) == 5
    rows = changed(rows, "loss", 0.001, row="candidate", name="merged", split="test")
    rows = changed(rows, "accuracy", 0.975, row="candidate", name="merged", split="test")
    assert study.verdict(rows).outcome == "reproduced"
    wrong = changed(rows, "accuracy", 0.95, row="candidate", name="merged", split="test")
    assert study.verdict(wrong).outcome == "not reproduced"
    second = changed([{**row, "set": 1} for row in rows], "loss", 9.0, name="merged", split="test")
    assert study.verdict([*rows, *second]).outcome == "not reproduced"
    four = [row for row in rows if row.get("name") != "input 5"]
    assert study.verdict(four).outcome == "not enough data", "the claim is about five"


def test_verdict_uses_saddles_of_the_plane(rows_of):
    study, rows = find_study("plane"), rows_of["plane"]
    plane = plane_of(rows)
    assert [row for row in plane.rows() if row["point"]] == [
        {key: row[key] for key in plane.rows()[0]} for row in rows if row["point"]
    ]
    assert len(plane.losses) == len(plane.losses[0]) == 13
    one = study.verdict(rows)
    assert one.outcome == "not enough data"
    assert one.sentence.endswith("At least three planes are needed.")
    near, far = (f"{saddle_height(plane, 'A', other):.4f}" for other in ("π(B)", "B"))
    assert {near, far} <= set(study.table(rows).rows[0])
    assert f"pair 1: {near} from A to π(B), {far} from A to B" in one.sentence
    (picture,) = study.figures(rows)
    assert "training loss" in picture.alt and "Training loss" in picture.caption
    assert all(ax.get_ylabel() for ax in picture.figure.axes)
    rows = [{**row, "pair": pair} for pair in range(3) for row in rows]
    assert study.verdict(rows).outcome == "reproduced"
    flat = [{**row, "loss": 0.1} for row in rows]
    assert study.verdict(flat).outcome == "not reproduced", "B lies in the basin of A, too"
    mountain = [{**row, "loss": row["y"] + 20} for row in rows]
    assert study.verdict(mountain).outcome == "not reproduced"


def test_saddle_is_on_the_lowest_path():
    high, low = 5.0, 1.0
    losses = ((0.0, high, 0.0), (0.2, high, 0.0), (low, low, low))
    plane = Plane(
        names=NAMES,
        coordinates=((0.0, 0.0), (2.0, 0.0), (0.1, 0.9)),
        network_losses=(0.0, 0.0, 0.2),
        network_errors=(0.0, 0.0, 0.0),
        xs=(0.0, 1.0, 2.0),
        ys=(0.0, 1.0, 2.0),
        losses=losses,
        errors=losses,
    )
    assert saddle_height(plane, "A", "B") == 1.0
    assert saddle_height(plane, "A", "π(B)") == 0.0
    walled = replace(plane, losses=(*losses[:2], (low, math.nan, low)))
    assert saddle_height(walled, "A", "B") == 5.0


def test_barriers_of_rows_and_pairs_of_them():
    points = [
        {"pair": pair, "alpha": alpha, "loss": loss, "error": 0.0}
        for pair, middle in ((0, 3.0), (1, 1.0))
        for alpha, loss in ((0.0, 1.0), (0.5, middle), (1.0, 2.0))
    ]
    found = barriers_of(points, "pair")
    assert [row["barrier"] for row in found] == [1.5, 0.0]
    assert [row["error_barrier"] for row in found] == [0.0, 0.0]
    assert paired(found, [{"pair": 1, "barrier": 2.0}], "barrier") == [-2.0]


def test_saved_epochs_equal_shorter_trainings():
    (kept,) = train_networks(**SETTING, recipe=RECIPE, seeds=[4], keep=[1])
    assert [row["epoch"] for row in kept.rows] == [1, 2, 3]
    for epoch in (1, 3):
        network = select_network(networks=kept, number=epoch)
        (short,) = train_networks(**SETTING, recipe={**RECIPE, "epochs": epoch}, seeds=[4])
        assert set(network.tensors) == set(short.tensors)
        assert all(torch.equal(network.tensors[n], short.tensors[n]) for n in short.tensors)
    with pytest.raises(OneBasinError, match=r"unknown network 2; known are \[1, 3\]"):
        select_network(networks=kept, number=2)


def test_stopped_network_is_unchanged():
    recipe = {**RECIPE, "epochs": 4, "stop_loss": 100.0}
    (kept,) = train_networks(**SETTING, recipe=recipe, seeds=[0], keep=[1, 3])
    assert len(kept.rows) == 1
    first, last = (select_network(networks=kept, number=epoch) for epoch in (1, 4))
    assert all(torch.equal(first.tensors[n], last.tensors[n]) for n in first.tensors)


def test_parts_and_augmentation_change_networks():
    images = {"data": {"name": "digits", "max_train_examples": 200, "layout": "images"}}
    setting = {**SETTING, **images, "recipe": RECIPE, "seeds": [0]}
    part = {"fraction": 0.2, "seed": 0}
    options = (
        {},
        {"augment": {"degrees": 5.0, "zoom": [0.9, 1.1]}},
        {"part": {**part, "number": 0}},
        {"part": {**part, "number": 1}},
    )
    made = [train_networks(**setting, **each)[0].tensors["layers.0.weight"] for each in options]
    for i, one in enumerate(made):
        assert all(not torch.equal(one, other) for other in made[i + 1 :])


def test_merge_averages_and_rejects_pair_matchers():
    a, b = train_networks(**SETTING, recipe=RECIPE, seeds=[0, 1])
    merged = merge_networks(**SETTING, members=[a, b])
    name = "layers.0.weight"
    assert torch.allclose(merged.tensors[name], (a.tensors[name] + b.tensors[name]) / 2)
    matched = merge_networks(**SETTING, members=[a, b], method="many")
    assert (matched.rows[0]["method"], matched.rows[0]["normalization"]) == ("many", "interpolated")
    found = compare_networks(
        **SETTING, members=[a, b], names=["a", "b"], others=[matched], other_names=["merged"]
    )
    loss = {row["name"]: row["loss"] for row in found.rows if row["row"] == "candidate"}
    assert loss["merged"] < loss["weights"]
    bins = [row["count"] for row in found.rows if row["row"] == "bin" and row["name"] == "a"]
    assert sum(bins) == 360
    with pytest.raises(OneBasinError, match=r"method 'weights' takes a pair; use match_pair"):
        merge_networks(**SETTING, members=[a, b], method="weights")


def test_statistics_of_merged_networks_can_be_reset():
    setting = {
        "data": {"name": "digits", "max_train_examples": 60, "layout": "images"},
        "network": {"name": "resnet20", "width": 0.0625, "norm": "batch"},
    }
    a, b = train_networks(**setting, recipe={**RECIPE, "epochs": 1}, seeds=[0, 1])
    plain, reset = (
        merge_networks(**setting, members=[a, b], normalization=each)
        for each in ("interpolated", "reset")
    )
    name = "stem.norm.running_var"
    mean = (a.tensors[name] + b.tensors[name]) / 2
    assert torch.allclose(plain.tensors[name], mean)
    assert not torch.allclose(reset.tensors[name], mean)
    assert reset.rows[0]["normalization"] == "reset"


def test_settings_share_tasks():
    assert DIGITS_MLP.networks([0])[0].key == DIGITS_MLP.networks(range(4))[0].key
    assert MNIST_MLP_SMALL.matching["data"] == "mnist"
    assert MNIST_MLP_SMALL.measuring["data"] == {"name": "mnist", "max_train_examples": 10_000}
    assert DIGITS_MLP.measuring == DIGITS_MLP.matching

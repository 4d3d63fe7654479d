"""Studies of Zhou et al.: results on digits, and rejected rows."""

import pytest

from onebasin.errors import OneBasinError
from onebasin_studies import Result
from onebasin_studies.papers.collection import collect
from onebasin_studies.papers.llfc import (
    additivity,
    commutativity,
    layer_plots,
    lemma,
    llfc,
    pairs,
    spawning,
)
from onebasin_studies.runtime.schedule import Plan
from onebasin_studies.tasks.features import measure_features
from onebasin_studies.tasks.specs import data_of, network_of
from tests.studies.runs import as_if_of_mnist

STUDIES = {
    module.STUDY.name: module.STUDY for module in (llfc, additivity, commutativity, lemma, spawning)
}


@pytest.fixture(scope="module")
def rows(run_at_smoke):
    """The rows of every study at smoke, from one run, by name; as if they were not of digits."""
    folder = run_at_smoke(*STUDIES)
    found = {name: collect(folder, name) for name in STUDIES}
    for one in found.values():
        assert "Only the digits dataset was measured" in one.verdict().sentence
    return {name: as_if_of_mnist(one.rows) for name, one in found.items()}


def evaluated_at_smoke(name, rows):
    """Return the rows of settings in which digits suffice for what the paper claims.

    Outputs of matched MLPs on digits are so alike that a fifth of their distance is little.
    """
    return layer_plots.select(rows, setting="MLP on MNIST, spawned") if name == "llfc" else rows


def changed(rows, factor, **wanted):
    """Return rows in which the means of those that are wanted are larger."""
    hit = layer_plots.select(rows, **wanted)
    assert hit, wanted
    return [{**row, "mean": row["mean"] * factor} if row in hit else row for row in rows]


@pytest.mark.parametrize("name", STUDIES)
def test_claims_hold_on_digits(name, rows):
    study = STUDIES[name]
    found = study.verdict(evaluated_at_smoke(name, rows[name]))
    assert found.outcome == "reproduced", found.sentence
    table = study.table(rows[name])
    assert all(len(row) == len(table.header) for row in table.rows)
    for picture in study.figures(rows[name]):
        assert all(ax.has_data() for ax in picture.figure.axes)
        if name in ("llfc", "additivity", "commutativity"):
            # Lines over all layers leave no room for a legend among them.
            assert not any(ax.get_legend() for ax in picture.figure.axes)
            assert len(picture.figure.legends) == 1
        assert "nothing" not in picture.alt


@pytest.mark.parametrize("letters", [4, 40])
def test_layer_names_do_not_cover_the_lines(letters):
    rows = [{"place": place, "layer": "x" * letters} for place in range(40)]
    figure, axes = layer_plots.layer_panels(rows, 2)
    for ax in axes:
        ax.plot([0, 39], [0, 1])
        layer_plots.name_layers(ax, rows)
    figure.draw_without_rendering()
    for ax in axes:
        assert len(ax.get_xticks()) <= layer_plots.MOST_NAMES
        assert ax.get_position().height * figure.get_figheight() > 1.5


@pytest.mark.parametrize("name", STUDIES)
def test_verdict_requires_connected_and_independent_pairs(name, rows):
    study, some = STUDIES[name], rows[name]
    assert study.verdict([]).outcome == "not enough data"
    barriers = [{**r, "error_barrier": 0.5} for r in some if r["quantity"] == pairs.BARRIER]
    features = layer_plots.features_of(some)
    if name not in ("spawning", "lemma"):
        found = study.verdict([*barriers, *features])
        assert found.outcome == "not enough data"
        assert "4 of 4 spawned or matched pairs are not connected" in found.sentence
    rest = [row for row in some if row["kind"] != pairs.INDEPENDENT]
    assert study.verdict(rest).outcome == "not enough data"


@pytest.mark.parametrize(("kind", "factor"), [(pairs.SPAWNED, 1e4), (pairs.INDEPENDENT, 1e-6)])
@pytest.mark.parametrize("name", ["llfc", "additivity", "commutativity"])
def test_either_side_alone_is_not_enough(name, kind, factor, rows):
    measure = "1-cos" if name == "llfc" else "distance"
    wrong = changed(evaluated_at_smoke(name, rows[name]), factor, kind=kind, measure=measure)
    assert STUDIES[name].verdict(wrong).outcome == "not reproduced"


def test_matching_brings_features_closer_to_the_mix(rows):
    some = layer_plots.select(rows["llfc"], setting="MLP on MNIST")
    near, far = (
        layer_plots.by_layer(layer_plots.select(some, kind=kind), "1-cos", 0.5)
        for kind in (pairs.MATCHED, pairs.INDEPENDENT)
    )
    assert len(near) == 5
    assert all(near[layer] < 0.5 * far[layer] for layer in near if layer[0] > 0)


def test_coefficient_far_from_one_is_not_llfc(rows):
    some = evaluated_at_smoke("llfc", rows["llfc"])
    wrong = changed(some, 1.5, kind=pairs.SPAWNED, measure="c")
    assert llfc.verdict(wrong).outcome == "not reproduced"


def test_the_first_layer_does_not_count(rows):
    """There both networks have the same inputs, and features are linear in the parameters."""
    exact = [r["mean"] for r in rows["llfc"] if r.get("measure") == "1-cos" and r["place"] == 0]
    assert max(exact) < 1e-6
    for name, measure in (("llfc", "1-cos"), ("commutativity", "distance")):
        # As if it were exactly 0, and as if it were huge.
        for value in (0.0, 1e6):
            other = [
                {**r, "mean": value} if r.get("measure") == measure and r["place"] == 0 else r
                for r in rows[name]
            ]
            assert STUDIES[name].verdict(other) == STUDIES[name].verdict(rows[name])


def test_the_lemma_is_evaluated_per_pair(rows):
    some = layer_plots.features_of(rows["lemma"])
    barriers = layer_plots.select(rows["lemma"], quantity=pairs.BARRIER)
    near = lemma.paths(layer_plots.connected(rows["lemma"]))
    far = {key: path for key, path in lemma.paths(some).items() if key[1] == pairs.INDEPENDENT}
    assert max(path.error / path.epsilon for path in near.values()) <= 2
    assert max(path.error / path.epsilon for path in far.values()) > 2
    assert all(path.mixed <= path.ends <= 2 * path.epsilon for path in near.values())
    wrong = changed(some, 30, kind=pairs.MATCHED, measure="error", alpha=0.5)
    found = lemma.verdict([*barriers, *wrong])
    assert found.outcome == "not reproduced"
    assert "violates the triangle bound" in found.sentence


def test_lemma_includes_pairs_with_high_barriers(rows):
    """Else those that are left could hardly break the bound."""
    some = rows["lemma"]
    apart = [{**r, "error_barrier": 0.5} if r["quantity"] == pairs.BARRIER else r for r in some]
    assert lemma.verdict(apart) == lemma.verdict(some)
    assert "4 spawned or matched pairs" in lemma.verdict(some).sentence
    high = changed(apart, 30, kind=pairs.MATCHED, measure="error", alpha=0.5)
    assert lemma.verdict(high).outcome == "not reproduced"


def test_lemma_requires_pairs_that_exceed_the_bound(rows):
    some = rows["lemma"]
    low = {"kind": pairs.INDEPENDENT, "measure": "error"}
    tame = [
        r | {"mean": 0.0} if low.items() <= r.items() and 0 < r["alpha"] < 1 else r for r in some
    ]
    found = lemma.verdict(tame)
    assert found.outcome == "not enough data"
    assert found.sentence.startswith("0 spawned or matched pairs that make errors")
    (name, *_) = layer_plots.grouped(some, "setting")
    part = [new if new["setting"] == name[0] else old for new, old in zip(tame, some, strict=True)]
    more = [{**row, "pair": row["pair"] + 2} for row in part]
    assert f"Not evaluated, because no independent pair exceeds it: {name[0]}." in (
        lemma.verdict([*part, *more]).sentence
    )


def test_barriers_must_fall_with_shared_epochs(rows):
    some = rows["spawning"]
    found = {
        s.group["shared"]: s.mean for s in layer_plots.summarize(some, "error_barrier", ["shared"])
    }
    assert list(found) == [0, 1, 4]
    assert found[0] > 0.1 > max(found[1], found[4])
    swapped = [{**row, "shared": {0: 4, 4: 0, 1: 1}[row["shared"]]} for row in some]
    assert spawning.verdict(swapped).outcome == "not reproduced"


def test_independent_pairs_reuse_trained_networks():
    for config in (pairs.SMOKE, pairs.SMALL, pairs.PAPER_CONFIG):
        found = pairs.pairs_of(config)
        ends = {(p.labels["setting"], p.a.key, p.b.key) for p in found}
        assert len(ends) == len(found), "the same two networks twice"
        for pair in found:
            if (
                pair.labels["kind"] == pairs.INDEPENDENT
                and pair.labels["setting"] in config.spawned
            ):
                trunks = [end.arguments["recipe"]["trunk_seed"] for end in (pair.a, pair.b)]
                assert trunks[0] != trunks[1]


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_no_network_is_trained_for_one_study_alone(scale):
    """The five have networks in common; only spawning needs some of its own."""
    trained = {}
    for name, study in STUDIES.items():
        tasks = Plan.of({name: study.tasks(study.config(scale))}).tasks
        trained[name] = {key for key, task in tasks.items() if ":train_" in task.function}
    four = [trained[name] for name in STUDIES if name != "spawning"]
    assert all(keys == four[0] for keys in four)
    assert four[0] & trained["spawning"]


def test_unknown_measure_raises():
    setting = {"data": "digits", "network": "mlp", "a": Result(), "b": Result()}
    with pytest.raises(OneBasinError, match=r"unknown measure 'x'; known are llfc, additivity"):
        measure_features(**setting, measure="x")
    with pytest.raises(OneBasinError, match=r"split is 'valid'; it must be train or test"):
        measure_features(**setting, measure="llfc", split="valid")


def test_statistics_of_endpoints_are_reset_too():
    """Otherwise a network differs from itself while its running statistics have not converged."""
    setting = {
        "data": {
            "name": "digits",
            "layout": "images",
            "max_train_examples": 200,
            "max_test_examples": 50,
        },
        "network": {"name": "vgg11", "width": 4},
    }
    network = network_of(setting["network"], data_of(setting["data"]))
    same = Result(tensors=network.state_dict())
    for normalization in ("reset", "interpolated"):
        found = measure_features(
            **setting, a=same, b=same, measure="llfc", alphas=[0.5], normalization=normalization
        )
        assert {row["normalization"] for row in found.rows} == {normalization}
        assert max(row["mean"] for row in found.rows if row["measure"] == "1-cos") < 1e-6

import pytest
import torch
import torch.nn.functional as F

from onebasin.errors import OneBasinError
from onebasin.evaluation.calibration import calibrate
from onebasin.evaluation.ensembles import compare_ensembles
from onebasin.evaluation.evaluator import evaluator
from onebasin.evaluation.statistics import reset_statistics
from tests.evaluation.networks import copy_of, examples, mlp

MODELS = {name: mlp(seed).eval() for seed, name in enumerate("abc")}
NETWORKS = {name: model.state_dict() for name, model in MODELS.items()}


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_entries_match_their_definitions(batch_size):
    inputs, labels = examples(200)
    result = compare_ensembles(mlp(9), NETWORKS, evaluator(inputs, labels, batch_size=batch_size))
    logits = torch.stack([model(inputs).detach() for model in MODELS.values()])
    mean = mlp(9).eval()
    mean.load_state_dict(
        {name: sum(p[name] for p in NETWORKS.values()) / 3 for name in NETWORKS["a"]}
    )
    expected = {
        **{name: model(inputs).softmax(1) for name, model in MODELS.items()},
        "probabilities": logits.softmax(-1).mean(0),
        "logits": logits.mean(0).softmax(-1),
        "weights": mean(inputs).softmax(1),
    }
    assert [each.name for each in result.candidates] == list(expected)
    for name, p in expected.items():
        candidate, p = result[name], p.detach()
        assert candidate.loss == pytest.approx(F.nll_loss(p.log(), labels).item(), rel=1e-5)
        assert candidate.error == pytest.approx((p.argmax(1) != labels).float().mean().item())
        ece = calibrate(p, labels).ece
        assert candidate.calibration.ece == pytest.approx(ece, abs=1e-5)
    assert [each.num_networks for each in result.candidates] == [1, 1, 1, 3, 3, 1]


def test_members_match_the_evaluator():
    evaluate = evaluator(*examples(200), batch_size=64)
    result = compare_ensembles(mlp(9), NETWORKS, evaluate)
    for name, model in MODELS.items():
        assert result[name].loss == pytest.approx(evaluate(model).loss, rel=1e-6)
        assert result[name].error == evaluate(model).error


def test_averaging_probabilities_is_never_worse_than_the_mean_member():
    result = compare_ensembles(mlp(9), NETWORKS, evaluator(*examples(200)))
    members = [candidate.loss for candidate in result.candidates if candidate.kind == "member"]
    for name in ("probabilities", "logits"):
        assert result[name].loss <= sum(members) / 3


def test_ensemble_of_equal_members_equals_each_member():
    same = {name: copy_of(NETWORKS["a"]) for name in "xy"}
    result = compare_ensembles(mlp(9), same, evaluator(*examples()))
    for candidate in result.candidates:
        assert candidate.loss == pytest.approx(result["x"].loss, rel=1e-6)


def test_other_networks_and_prepared_means_are_added():
    networks = {name: mlp(i, norm=True).state_dict() for i, name in enumerate("ab")}
    inputs, labels = examples()
    evaluate = evaluator(inputs, labels)
    model = mlp(9, norm=True)
    result = compare_ensembles(
        model,
        networks,
        evaluate,
        others={"swa": networks["b"]},
        prepare=lambda params: reset_statistics(model, params, [inputs]),
    )
    plain = compare_ensembles(model, networks, evaluate)
    assert result["swa"].kind == "other"
    assert result["swa"].loss == result["b"].loss
    assert result["weights"].loss != plain["weights"].loss
    assert result["a"] == plain["a"]


def test_rows_and_picture(tmp_path):
    from matplotlib.figure import Figure

    result = compare_ensembles(mlp(9), NETWORKS, evaluator(*examples()))
    rows = result.rows()
    assert [row["name"] for row in rows] == ["a", "b", "c", "probabilities", "logits", "weights"]
    assert rows[0]["accuracy"] == 1 - rows[0]["error"]
    assert set(rows[0]) >= {"kind", "networks", "loss", "ece", "mce", "examples"}
    ax = Figure().subplots()
    result.plot(ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [r["name"] for r in rows]
    result.save(tmp_path / "ensembles.csv")
    with pytest.raises(OneBasinError, match="unknown candidate 'swa'; known are: a, b, c, prob"):
        result["swa"]


def test_invalid_comparisons_are_rejected():
    evaluate = evaluator(*examples())
    with pytest.raises(OneBasinError, match="compare_ensembles: 1 network given"):
        compare_ensembles(mlp(9), {"a": NETWORKS["a"]}, evaluate)
    with pytest.raises(OneBasinError, match="two candidates have the name 'weights'"):
        compare_ensembles(mlp(9), NETWORKS, evaluate, others={"weights": NETWORKS["a"]})
    with pytest.raises(OneBasinError, match=r"the loss must be 'cross_entropy' \(got 'mse'\)"):
        compare_ensembles(
            mlp(9), NETWORKS, evaluator(examples()[0], torch.zeros(50, 3), loss="mse")
        )
    with pytest.raises(OneBasinError, match=r"labels \(50,\) torch.float32; expected"):
        compare_ensembles(mlp(9), NETWORKS, evaluator(examples()[0], torch.zeros(50)))
    with pytest.raises(OneBasinError, match="the data have no examples"):
        compare_ensembles(mlp(9), NETWORKS, evaluator([]))

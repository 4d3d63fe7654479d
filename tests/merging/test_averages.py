import pytest
import torch
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.merging.averages import LazyAverage, average, average_checkpoints, average_tensors
from tests.evaluation.networks import assert_same, copy_of, mlp


def params(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "w": torch.randn(30, 4, generator=generator),
        "half": torch.randn(30, generator=generator).bfloat16(),
        "double": torch.randn(30, generator=generator, dtype=torch.float64),
        "count": torch.tensor(seed),
        "flag": torch.tensor([seed % 2 == 0]),
    }


def assert_equal(result, expected):
    assert list(result) == list(expected)
    for name, tensor in expected.items():
        assert result[name].dtype == tensor.dtype, name
        assert torch.equal(result[name], tensor), name


@pytest.mark.parametrize("weights", [None, [1, 1, 1], [0.2, 0.5, 0.3], [2, -1, 3]])
def test_average_is_the_weighted_mean(weights):
    networks = [params(seed) for seed in range(3)]
    result = average(networks, weights)
    shares = torch.tensor(weights or [1.0] * 3, dtype=torch.float64)
    shares /= shares.sum()
    for name in ("w", "half", "double"):
        stacked = torch.stack([network[name].double() for network in networks])
        expected = torch.tensordot(shares, stacked, dims=1)
        torch.testing.assert_close(result[name], expected.to(result[name].dtype))


def test_extrapolated_variances_are_not_negative():
    name = "norm.running_var"
    a, b = ({name: torch.tensor(each), "w": torch.tensor(each)} for each in ([1.0, 4.0], [4.0, 1]))
    for result in (average([a, b], [1.5, -0.5]), dict(average_tensors([a, b], [1.5, -0.5]))):
        assert result[name].tolist() == [1.0, 5.5]
        assert result["w"].tolist() == [-0.5, 5.5]
    assert average([a, b], [0.5, 0.5])[name].tolist() == [2.5, 2.5]


def test_integers_and_dtypes_come_from_the_first_network():
    result = average([params(1), {name: t.double() for name, t in params(2).items()}])
    assert {name: t.dtype for name, t in result.items()} == {
        n: t.dtype for n, t in params(1).items()
    }
    assert int(result["count"]) == 1
    assert not result["flag"]


@pytest.mark.parametrize("weights", [None, [1, 2, 4], [0.1, 0.1, 0.1]])
def test_mean_of_equal_networks_is_exact(weights):
    assert_equal(average([params(1), params(1), params(1)], weights), params(1))


@pytest.mark.parametrize("weights", [[1, 0], [0, 1]])
def test_network_of_weight_one_is_exact(weights):
    a, b = params(1), params(2)
    expected = a if weights[0] else {**b, "count": a["count"], "flag": a["flag"]}
    assert_equal(average([a, b], weights), expected)


def test_low_precision_is_averaged_in_float32():
    # In float16 the sum of the first two overflows; in bfloat16 the third would not count.
    large = [{"w": torch.tensor([60000.0]).half()} for _ in range(2)]
    assert average(large)["w"] == 60000
    small = [{"w": torch.tensor([x]).bfloat16()} for x in (256.0, 257.0, 258.0)]
    assert average(small)["w"] == torch.tensor([257.0]).bfloat16()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (torch.float16, [60000.0, 200000.0]),
        (torch.float8_e4m3fn, [400.0, 600.0]),
        (torch.float32, [3e38, 5e38]),
    ],
    ids=str,
)
def test_means_that_are_too_large_for_the_first_dtype_are_rejected(dtype, values):
    a, b = (torch.tensor([value, 1.0], dtype=torch.float64) for value in values)
    with pytest.raises(OneBasinError, match=r"average: the mean of tensor 'w' has values up"):
        average([{"w": a.to(dtype)}, {"w": b}])


def test_finite_complex_networks_are_not_blamed_for_infinite_entries():
    a = {"w": torch.tensor([1.0 + 1j], dtype=torch.complex64)}
    b = {"w": torch.tensor([1e300 + 0j], dtype=torch.complex128)}
    with pytest.raises(
        OneBasinError, match=r"'w' has values up to 5e\+299, too large for complex64"
    ):
        average([a, b])


def test_network_with_infinite_entries_is_rejected():
    a = {"w": torch.tensor([1e300], dtype=torch.float64)}
    b = {"w": torch.tensor([torch.inf])}
    with pytest.raises(OneBasinError, match=r"params_list\[2\] has NaN or infinite"):
        average([{"w": torch.tensor([1.0])}, a, b])


def test_differences_do_not_overflow():
    a, b = torch.tensor([3e38, 1.0]), torch.tensor([-3e38, 3.0])
    assert average([{"w": a}, {"w": b}])["w"].tolist() == [0.0, 2.0]
    assert average([{"w": a}, {"w": b}], [3, 1])["w"].tolist() == pytest.approx([1.5e38, 1.5])


def test_infinite_entries_of_masks_stay_and_others_are_rejected():
    mask = torch.tensor([0.0, -torch.inf])
    assert torch.equal(average([{"m": mask}] * 3, [1, 2, 3])["m"], mask)
    for bad in (torch.tensor([0.0, 1.0]), torch.tensor([torch.nan, -torch.inf])):
        with pytest.raises(
            OneBasinError, match=r"average: tensor 'm' of params_list\[\d\] has NaN"
        ):
            average([{"m": mask}, {"m": bad}])


def test_inputs_are_not_changed_or_shared():
    a, b = params(1), params(2)
    result = average([a, b])
    for tensor in result.values():
        tensor.zero_()
    assert_equal(a, params(1))
    assert_equal(b, params(2))


def test_tied_tensors_stay_tied():
    def tied(seed):
        model = nn.ModuleList([nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)])
        model[1].weight = model[0].weight
        nn.init.normal_(model[0].weight, generator=torch.Generator().manual_seed(seed))
        return model.state_dict()

    result = average([tied(0), tied(1)])
    assert result["0.weight"] is result["1.weight"]
    half = {**tied(1), "1.weight": tied(2)["1.weight"]}
    result = average([tied(0), half])
    assert not torch.equal(result["0.weight"], result["1.weight"])


def test_equal_empty_tensors_are_not_tied():
    a = {"x": torch.empty(0), "y": torch.empty(0)}
    result = average([a, a])
    assert result["x"] is not result["y"]


def test_lazy_mappings_are_read_tensor_by_tensor():
    class Lazy(dict):
        reads = 0

        def __getitem__(self, name):
            Lazy.reads += 1
            return super().__getitem__(name).clone()

    a, b = Lazy(params(1)), Lazy(params(2))
    stream = average_tensors([a, b], [1, 3])
    before = Lazy.reads
    assert next(stream)[0] == "w"
    assert Lazy.reads == before + 2
    assert_equal(dict(average_tensors([a, b], [1, 3])), average([a, b], [1, 3]))


def test_lazy_mean_equals_the_mean():
    networks = [params(1), params(2)]
    mean = LazyAverage(networks, [1, 3])
    assert_equal(dict(mean), average(networks, [1, 3]))
    assert len(mean) == len(networks[0])
    assert "w" in mean
    assert "v" not in mean
    assert mean.metadata("half").dtype == torch.bfloat16


def test_invalid_calls_are_rejected():
    a, b = params(1), params(2)
    with pytest.raises(OneBasinError, match="average: 1 network given; pass at least two"):
        average([a])
    with pytest.raises(OneBasinError, match=r"average: 1 weight \(2\) for 2 networks"):
        average([a, b], [2])
    with pytest.raises(OneBasinError, match=r"the weights are 1, -1, .* a sum other than 0"):
        average([a, b], [1, -1])
    with pytest.raises(OneBasinError, match="the weights are 1, nan, but they must be finite"):
        average([a, b], [1, float("nan")])
    with pytest.raises(OneBasinError, match=r"average: 1 tensor only in .* \('flag'\)"):
        average([a, {name: b[name] for name in b if name != "flag"}])
    with pytest.raises(
        OneBasinError, match=r"average_tensors: tensor 'w' is \(30, 4\) in .* but \(2,\)"
    ):
        average_tensors([a, {**b, "w": torch.zeros(2)}])


def test_mean_of_checkpoints():
    checkpoints = [mlp(seed).state_dict() for seed in range(4)]
    kept = [copy_of(checkpoint) for checkpoint in checkpoints]
    mean = average_checkpoints(iter(checkpoints))
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, sum(each[name] for each in checkpoints) / 4)
    for each, before in zip(checkpoints, kept, strict=True):
        assert_same(each, before)


def test_mean_keeps_dtypes_and_the_last_integers():
    checkpoints = [
        {"w": torch.full((1,), 256.0 + k).bfloat16(), "n": torch.tensor(k)} for k in (0, 2, 4)
    ]
    mean = average_checkpoints(checkpoints)
    assert_same(mean, {"w": torch.tensor([258.0]).bfloat16(), "n": torch.tensor(4)})
    (only,) = ({"w": torch.ones(2)},)
    mean = average_checkpoints([only])
    mean["w"].zero_()
    assert only["w"].sum() == 2


def test_mismatched_checkpoints_are_rejected():
    with pytest.raises(OneBasinError, match="checkpoints is empty"):
        average_checkpoints([])
    with pytest.raises(OneBasinError, match=r"'w' is \(2,\) in the first .* \(3,\) in number 2"):
        average_checkpoints([{"w": torch.zeros(2)}, {"w": torch.zeros(3)}])
    with pytest.raises(OneBasinError, match="'v' is in params_b but not in params_a"):
        average_checkpoints([{"w": torch.zeros(2)}, {"w": torch.zeros(2), "v": torch.zeros(2)}])

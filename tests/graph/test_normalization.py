from torch import nn

from onebasin.graph._normalization import layers_with_statistics, statistics_of


def test_layers_that_keep_statistics_are_found_by_name():
    model = nn.Sequential(
        nn.BatchNorm1d(4),
        nn.BatchNorm1d(4, track_running_stats=False),
        nn.Sequential(nn.LayerNorm(4), nn.InstanceNorm2d(4, track_running_stats=True)),
        nn.InstanceNorm2d(4),
    )
    assert layers_with_statistics(model) == {"0": model[0], "2.1": model[2][1]}


def test_model_of_one_layer_has_an_empty_name():
    layer = nn.BatchNorm2d(4)
    assert layers_with_statistics(layer) == {"": layer}


def test_statistics_have_full_names():
    layer = nn.BatchNorm2d(4)
    model = nn.Sequential(layer)
    for module, prefix in ((layer, ""), (model, "0."), (nn.Sequential(model), "0.0.")):
        found = statistics_of(layers_with_statistics(module))
        assert list(found) == [
            f"{prefix}{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
        ]
        assert all(found[name] is tensor for name, tensor in module.named_buffers())

import pytest
import torch

from onebasin.data import Augmentation
from onebasin.errors import OneBasinError

STILL = {"zoom": (1.0, 1.0), "flip": False, "degrees": 0.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_empty_ranges_change_nothing():
    images = torch.randn(5, 3, 9, 9)
    torch.testing.assert_close(Augmentation(**STILL)(images, generator()), images)


def test_flips_mirror_half_of_the_images():
    images = torch.randn(400, 1, 6, 6)
    found = Augmentation(**{**STILL, "flip": True})(images, generator())
    kept = [torch.allclose(a, b, atol=1e-5) for a, b in zip(found, images, strict=True)]
    mirrored = [torch.allclose(a, b, atol=1e-5) for a, b in zip(found, images.flip(3), strict=True)]
    assert all(k or m for k, m in zip(kept, mirrored, strict=True))
    assert 160 < sum(mirrored) < 240


def test_a_right_angle_is_an_exact_rotation():
    images = torch.randn(2, 1, 7, 7)
    turned = Augmentation(**STILL)
    right = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]]).expand(2, 2, 3)
    torch.testing.assert_close(turned.apply(images, right), torch.rot90(images, 1, (2, 3)))


def test_maps_have_angles_and_factors_in_the_ranges():
    maps = Augmentation(zoom=(0.8, 1.25), flip=False, degrees=30.0).draw(2000, generator())
    linear = maps[:, :, :2]
    factors = 1 / torch.linalg.det(linear).sqrt()
    angles = torch.atan2(linear[:, 1, 0], linear[:, 1, 1]).rad2deg()
    assert 0.8 <= factors.min() < 0.81 and 1.24 < factors.max() <= 1.2501
    assert -30 <= angles.min() < -29 and 29 < angles.max() <= 30
    # A rotation and a scaling, nothing else.
    gram = linear @ linear.transpose(1, 2)
    identity = torch.eye(2).expand(2000, 2, 2) / factors.view(-1, 1, 1) ** 2
    torch.testing.assert_close(gram, identity)
    assert torch.log(factors).mean() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("factor", [1.25, 0.8])
def test_crops_stay_inside_and_small_images_stay_whole(factor):
    """Enlarged: nothing from outside is seen. Made smaller: nothing of the image is lost."""
    augmentation = Augmentation(zoom=(factor, factor), flip=False, degrees=0.0)
    found = augmentation(torch.ones(50, 1, 20, 20), generator())
    share = found.mean((1, 2, 3))
    if factor > 1:
        torch.testing.assert_close(found[:, :, 1:-1, 1:-1], torch.ones(50, 1, 18, 18))
    else:
        torch.testing.assert_close(share, torch.full((50,), factor**2), rtol=0.02, atol=0)
        places = (found[:, 0] * torch.arange(20.0)).sum((1, 2))
        assert places.std() > 1, "the image lies always at the same place"


def test_a_zoom_of_2_doubles_the_center():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    middle = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]])
    found = Augmentation().apply(ramp, middle)
    torch.testing.assert_close(found[0, 0, 3], 3.5 + 0.5 * (torch.arange(8.0) - 3.5))


def test_the_generator_determines_the_result():
    images, state = torch.randn(4, 1, 8, 8), torch.random.get_rng_state()
    first, again, other = (Augmentation()(images, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_dtype_does_not_change():
    assert Augmentation()(torch.randn(2, 1, 8, 8).double(), generator()).dtype == torch.float64


@pytest.mark.parametrize(
    "ranges", [{"zoom": (0.0, 1.0)}, {"zoom": (1.2, 0.8)}, {"degrees": -1.0}, {"degrees": 200.0}]
)
def test_ranges_out_of_order_raise(ranges):
    with pytest.raises(OneBasinError, match=r"augmentation: zoom .* positive factors in order"):
        Augmentation(**ranges)


def test_other_inputs_than_images_raise():
    with pytest.raises(OneBasinError, match=r"augmentation: inputs are \(4, 64\); it takes square"):
        Augmentation()(torch.zeros(4, 64), generator())

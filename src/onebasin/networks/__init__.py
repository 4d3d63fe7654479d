"""Networks: the architectures that the studies train, written out once each.

Every module that has parameters draws them in `reset_parameters`; none changes a tensor in
place in a way that `torch.func.vmap` could not follow; all can be traced.
"""

from onebasin.networks.catalogue import NETWORKS, NetworkEntry, build_network
from onebasin.networks.layers import ChannelNorm, Convolution
from onebasin.networks.mlp import MLP
from onebasin.networks.resnet import ResNet
from onebasin.networks.resnet20 import ResNet20
from onebasin.networks.shallow_cnn import ShallowCNN
from onebasin.networks.vgg import VGG
from onebasin.networks.vit import VisionTransformer

__all__ = [
    "MLP",
    "NETWORKS",
    "VGG",
    "ChannelNorm",
    "Convolution",
    "NetworkEntry",
    "ResNet",
    "ResNet20",
    "ShallowCNN",
    "VisionTransformer",
    "build_network",
]

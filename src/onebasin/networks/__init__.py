"""Built-in architectures.

Every module with parameters initializes them in `reset_parameters`. All modules support
`torch.func.vmap` and tracing.
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

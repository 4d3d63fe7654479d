"""timm models, at least one small one for every model file of the library.

The file selects variants and their input sizes, and reduces some sizes of large models. A family
is the file of `timm.models` that defines the architecture.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from torch import nn

from .entry import Entry, Example, random_images, seeded
from .torchvision_models import load_torchvision

DEFAULT_SIZE = 64

# These models accept any image size.
FREE = {
    "byoanet": "halonet_h1 eca_halonext26ts lambda_resnet26t",
    "byobnet": "test_byobnet mobileone_s1 repvgg_a0 gernet_s gcresnext26ts bat_resnext26ts"
    " regnetz_b16 resnet50_clip",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext convnext_zepto_rms convnextv2_atto",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s cspresnet50",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "densenet": "densenet121 densenetblur121d",
    "dla": "dla46x_c dla60_res2net",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientnet": "test_efficientnet efficientnet_cc_b0_4e mixnet_s test_efficientnet_evos",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0 efficientvit_l1",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "vit_tiny_patch16_dinov3_qkvb",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050 ghostnetv2_100 ghostnetv3_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0 hgnet_tiny",
    "hieradet_sam2": "hieradet_small sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout mambaout_femto",
    "metaformer": "poolformer_s12 poolformerv2_s12 caformer_s18 convformer_s18",
    "mobilenetv3": "mobilenetv3_small_050 lcnet_035 mobilenetv4_conv_small_035"
    " mobilenetv4_hybrid_medium",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs mobilevitv2_050",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_gap",
    "nasnet": "nasnetalarge",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet nf_regnet_b0 dm_nfnet_f0 nf_ecaresnet26",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0 pvt_v2_b2_li",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnety_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m0_9",
    "res2net": "res2net50_14w_8s",
    "resnest": "resnest14d",
    "resnet": "test_resnet resnet10t seresnet18 ecaresnet26t resnetblur18",
    "resnetv2": "resnetv2_18 resnetv2_50x1_bit",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "tiny_vit": "tiny_vit_5m_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small twins_pcpvt_small",
    "vgg": "vgg11_bn",
    "vision_transformer": "test_vit test_vit2 test_vit4",
    "vision_transformer_sam": "samvit_base_patch16",
    "vovnet": "ese_vovnet19b_slim",
    "xception": "xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p16_224",
}
# Are built for one image size, given as `img_size`.
SIZED = {
    "beit": "beit_base_patch16_224",
    "byoanet": "eca_botnext26ts_256 lamhalobotnet50ts_256",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny coat_lite_tiny",
    "convit": "convit_tiny",
    "deit": "deit_tiny_distilled_patch16_224 deit3_small_patch16_224",
    "efficientformer_v2": "efficientformerv2_s0",
    "eva": "eva02_tiny_patch14_224 vit_pe_core_tiny_patch16_384 vit_small_patch16_rope_mixed_224",
    "gcvit": "gcvit_xxtiny",
    "hiera": "hiera_tiny_224",
    "levit": "levit_128s levit_conv_128s",
    "maxxvit": "test_coatnet test_maxvit coatnext_nano_rw_224",
    "mlp_mixer": "gmlp_ti16_224 gmixer_12_224 resmlp_12_224 mixer_s16_224",
    "nest": "nest_tiny",
    "pit": "pit_ti_224",
    "swin_transformer": "swin_tiny_patch4_window7_224 swin_s3_tiny_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_ns_224",
    "tnt": "tnt_s_patch16_224",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit3 vit_tiny_patch16_224 flexivit_small aimv2_large_patch14_224"
    " vit_base_patch16_18x2_224 beit3_base_patch16_224 vit_so150m_patch16_reg4_gap_256",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224 vit_base_mci_224",
    "vision_transformer_relpos": "test_vit_relpos vit_srelpos_small_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
}
# Larger where the model insists, or where 64 leaves one window or one position in a stage.
SIZES = {
    "bat_resnext26ts": 256,
    "coat_tiny": 128,
    "davit_tiny": 128,
    "deepseek_vit_412m": 112,
    "eca_halonext26ts": 256,
    "efficientformer_l1": 224,
    "efficientformerv2_s0": 128,
    "eva02_tiny_patch14_224": 70,
    "aimv2_large_patch14_224": 70,
    "focalnet_tiny_srf": 128,
    "gcvit_xxtiny": 224,
    "halonet_h1": 256,
    "hiera_tiny_224": 128,
    "hieradet_small": 128,
    "inception_resnet_v2": 139,
    "inception_v3": 107,
    "inception_v4": 139,
    "lamhalobotnet50ts_256": 128,
    "nasnetalarge": 96,
    "nest_tiny": 128,
    "pnasnet5large": 96,
    "sam2_hiera_tiny": 128,
    "swin_s3_tiny_224": 224,
    "swin_tiny_patch4_window7_224": 224,
    "swinv2_cr_tiny_ns_224": 224,
    "swinv2_tiny_window8_256": 256,
    "test_maxvit": 160,
    "twins_pcpvt_small": 128,
    "twins_svt_small": 128,
    "vit_tiny_r_s16_p8_224": 128,
    "xception": 96,
}
# Depth is cut where even the smallest variant is large.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "aimv2_large_patch14_224": {"depth": 2},
    "beit3_base_patch16_224": {"depth": 3},
    "beit_base_patch16_224": {"depth": 3},
    "deepseek_vit_412m": {"depth": 3},
    "gemma4_vit_167m": {"depth": 3},
    "naflexvit_base_patch16_gap": {"depth": 3},
    "qwen3_vit_88m": {"depth": 3},
    "samvit_base_patch16": {"depth": 3},
    "vit_base_mci_224": {"depth": 3},
    "vit_base_patch16_18x2_224": {"depth": 3},
    "vit_so150m_patch16_reg4_gap_256": {"depth": 3},
}


def timm_entries() -> list[Entry]:
    """One entry per chosen timm model, sorted by family."""
    entries = []
    for family in sorted(FREE.keys() | SIZED.keys()):
        free, sized = FREE.get(family, "").split(), SIZED.get(family, "").split()
        for name in free:
            entries.append(_entry(name, family, ARGUMENTS.get(name, {})))
        for name in sized:
            entries.append(
                _entry(name, family, {"img_size": _size(name), **ARGUMENTS.get(name, {})})
            )
    return entries


def _entry(name: str, family: str, arguments: dict[str, Any]) -> Entry:
    build = partial(_build, name, arguments)
    return Entry(name, family, "timm", build, partial(_example, name))


def _size(name: str) -> int:
    return SIZES.get(name, DEFAULT_SIZE)


def _build(name: str, arguments: dict[str, Any]) -> nn.Module:
    load_torchvision()
    timm = importlib.import_module("timm")
    return seeded(lambda: timm.create_model(name, pretrained=False, **arguments))


def _example(name: str, model: nn.Module) -> Example:
    return (random_images(2, 3, _size(name), _size(name)),), {}

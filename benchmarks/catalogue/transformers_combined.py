"""Tiny configurations of transformers' detectors, and of models that read several kinds of input.

Sizes: backbones of 20 to 72 channels, hidden 60. The file also has the inputs of these models.
"""

from __future__ import annotations

from typing import Any

import torch

from .entry import random_images, random_tokens
from .transformers_decoders import GROUPED, PLAIN, WIDE
from .transformers_encoders import BERT
from .transformers_inputs import (
    BATCH,
    LABELS,
    LENGTH,
    VOCABULARY,
    images,
    source_and_target,
    tokens,
    waveform,
)
from .transformers_models import Architecture
from .transformers_seq2seq import BART
from .transformers_vision import PYRAMID, SWIN, VIT

IMAGE_TOKEN = 3
FRAMES = 4
SERIES = {"num_input_channels": 3, "context_length": 36, "prediction_length": 10}
BACKBONE = {
    "model_type": "resnet",
    "embedding_size": 18,
    "hidden_sizes": [20, 36, 40, 72],
    "depths": [1, 1, 1, 1],
    "out_features": ["stage2", "stage3", "stage4"],
}
DETECTOR = {key: BART[key] for key in BART if "layers" in key or "ffn" in key} | {
    "encoder_attention_heads": 5,
    "decoder_attention_heads": 6,
    "d_model": 60,
    "num_queries": 9,
    "num_labels": LABELS,
    "backbone_config": BACKBONE,
}
TOWER = VIT | {"model_type": "siglip_vision_model", "vision_use_head": False}
SPOKEN = {"text_config": GROUPED | {"model_type": "llama"}, "image_token_id": IMAGE_TOKEN}


def illustrated(positions: int) -> Any:
    """Images, and texts in which each of them has a place for all its positions."""

    def inputs(config: Any) -> dict[str, Any]:
        text = random_tokens(BATCH, LENGTH + positions, VOCABULARY)
        text[:, 2 : 2 + positions] = IMAGE_TOKEN
        return {**images(config), "input_ids": text}

    return inputs


def illustrated_prefix(config: Any) -> dict[str, Any]:
    """Images of 16 positions before a text, with the kind of every position."""
    inputs = illustrated(16)(config)
    return {**inputs, "token_type_ids": torch.zeros_like(inputs["input_ids"])}


def boxed(config: Any) -> dict[str, Any]:
    """Token ids and the box of every token on its page."""
    boxes = random_tokens(BATCH, LENGTH * 4, 37).view(BATCH, LENGTH, 4)
    return {**tokens(config), "bbox": boxes.sort(-1).values}


def scaled_boxes(config: Any) -> dict[str, Any]:
    """Token ids and boxes in shares of the page."""
    inputs = boxed(config)
    return {**inputs, "bbox": inputs["bbox"] / 37}


def objects(config: Any) -> dict[str, Any]:
    """Token ids, and features and places of five objects."""
    features = random_images(BATCH, 5, config.visual_feat_dim)
    return {**tokens(config), "visual_feats": features, "visual_pos": random_images(BATCH, 5, 4)}


def frames(config: Any) -> dict[str, Any]:
    """Videos of 4 images of 32x32."""
    return {"pixel_values": random_images(BATCH, FRAMES, 3, 32, 32)}


def series(config: Any) -> dict[str, Any]:
    """Series of 36 steps and 3 channels."""
    return {"past_values": random_images(BATCH, 36, 3)}


def decisions(config: Any) -> dict[str, Any]:
    """Five steps of states, actions and rewards."""
    return {
        "states": random_images(BATCH, 5, config.state_dim),
        "actions": random_images(BATCH, 5, config.act_dim, seed=1),
        "rewards": random_images(BATCH, 5, 1, seed=2),
        "returns_to_go": random_images(BATCH, 5, 1, seed=3),
        "timesteps": torch.arange(5).expand(BATCH, 5).clone(),
        "attention_mask": torch.ones(BATCH, 5),
    }


def spoken(config: Any) -> dict[str, Any]:
    """Sound of 1600 samples and target ids `(2, 9)`."""
    target = source_and_target(config)["decoder_input_ids"]
    return {**waveform(config), "decoder_input_ids": target}


def sound(config: Any) -> dict[str, Any]:
    """Sound of one channel and 1600 samples."""
    return {"input_values": random_images(BATCH, 1, 1600)}


COMBINED = [
    Architecture("GLPNForDepthEstimation", "glpn", images,
                 {key: PYRAMID[key] for key in PYRAMID if key != "image_size"}
                 | {"decoder_hidden_size": 34}),
    Architecture("Swin2SRForImageSuperResolution", "swin2sr", images,
                 SWIN | {"image_size": 28, "patch_size": 1, "embed_dim": 24, "upscale": 2}),
    Architecture("MoonshineForConditionalGeneration", "moonshine", spoken,
                 PLAIN | {"encoder_num_hidden_layers": 2, "decoder_num_hidden_layers": 2,
                          "encoder_num_attention_heads": 5, "decoder_num_attention_heads": 6,
                          "encoder_num_key_value_heads": 5, "decoder_num_key_value_heads": 3},
                 output="logits"),
    Architecture("DetrForObjectDetection", "detr", images, DETECTOR, output="logits"),
    Architecture("ConditionalDetrForObjectDetection", "conditional_detr", images,
                 DETECTOR | {"decoder_attention_heads": 5}, output="pred_boxes"),
    Architecture("DeformableDetrForObjectDetection", "deformable_detr", images,
                 DETECTOR | {"encoder_attention_heads": 4, "decoder_attention_heads": 4,
                             "d_model": 64, "num_feature_levels": 3},
                 output="pred_boxes"),
    Architecture("YolosForObjectDetection", "yolos", images,
                 VIT | {"image_size": [32, 48], "num_detection_tokens": 9}, output="logits"),
    Architecture("LlavaForConditionalGeneration", "llava", illustrated(16),
                 SPOKEN | {"vision_config": VIT | {"model_type": "clip_vision_model"}},
                 output="logits"),
    Architecture("VipLlavaForConditionalGeneration", "vipllava", illustrated(16),
                 SPOKEN | {"vision_config": VIT | {"model_type": "clip_vision_model"},
                           "vision_feature_layers": [-2, -1]}, output="logits"),
    Architecture("PaliGemmaForConditionalGeneration", "paligemma", illustrated_prefix,
                 {"text_config": WIDE | {"model_type": "gemma"}, "image_token_id": IMAGE_TOKEN,
                  "vision_config": TOWER | {"projection_dim": 60}, "projection_dim": 60},
                 output="logits"),
    Architecture("LxmertForQuestionAnswering", "lxmert", objects,
                 BERT | {"l_layers": 1, "x_layers": 1, "r_layers": 1, "visual_feat_dim": 26,
                         "num_qa_labels": LABELS}, output="question_answering_score"),
    Architecture("BrosForTokenClassification", "bros", scaled_boxes,
                 BERT | {"hidden_size": 128, "num_attention_heads": 4, "num_labels": LABELS},
                 output="logits"),
    Architecture("LiltForTokenClassification", "lilt", boxed,
                 BERT | {"num_attention_heads": 6, "hidden_size": 72, "channel_shrink_ratio": 3,
                         "num_labels": LABELS}, output="logits"),
    Architecture("LukeForMaskedLM", "luke", tokens,
                 BERT | {"entity_vocab_size": 29, "entity_emb_size": 26}, output="logits"),
    Architecture("MarkupLMForTokenClassification", "markuplm", tokens,
                 BERT | {"xpath_unit_hidden_size": 6, "max_depth": 4, "num_labels": LABELS},
                 output="logits"),
    Architecture("TimesformerForVideoClassification", "timesformer", frames,
                 VIT | {"num_frames": FRAMES}),
    Architecture("PatchTSTForPrediction", "patchtst", series,
                 SERIES | {"patch_length": 6, "patch_stride": 6, "num_hidden_layers": 2,
                           "d_model": 60, "num_attention_heads": 5, "ffn_dim": 88},
                 output="prediction_outputs"),
    Architecture("PatchTSMixerForPrediction", "patchtsmixer", series,
                 SERIES | {"patch_length": 6, "patch_stride": 6, "d_model": 20, "num_layers": 2},
                 output="prediction_outputs"),
    Architecture("DecisionTransformerModel", "decision_transformer", decisions,
                 {"hidden_size": 60, "n_head": 5, "n_layer": 2, "n_inner": 88, "n_positions": 37,
                  "max_ep_len": 41, "state_dim": 17, "act_dim": 4}, output="action_preds"),
    Architecture("DacModel", "dac", sound,
                 {"encoder_hidden_size": 6, "downsampling_ratios": [2, 4],
                  "decoder_hidden_size": 28, "upsampling_ratios": [4, 2], "n_codebooks": 3,
                  "codebook_size": 16, "codebook_dim": 5}, output="audio_values"),
    Architecture("DeepseekV32ForCausalLM", "deepseek_v32", tokens,
                 PLAIN | {"num_key_value_heads": 5, "q_lora_rank": 22, "kv_lora_rank": 18,
                 "qk_nope_head_dim": 12, "qk_rope_head_dim": 6, "v_head_dim": 16,
                 "n_routed_experts": 8, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2,
                 "moe_intermediate_size": 26, "index_topk": 3, "index_head_dim": 8,
                 "index_n_heads": 3, "first_k_dense_replace": 1}, output="logits"),
]  # fmt: skip

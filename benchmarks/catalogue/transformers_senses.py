"""Tiny configurations of transformers' sound models, and of those that pair images with text.

Sizes: convolutional features of 20 channels, hidden 60, 5 heads of 12.
"""

from __future__ import annotations

from .transformers_encoders import BERT
from .transformers_inputs import LABELS, VOCABULARY, image_and_text, spectrogram, waveform
from .transformers_models import Architecture
from .transformers_vision import VIT

SOUND = {
    "vocab_size": VOCABULARY,
    "hidden_size": 60,
    "num_hidden_layers": 2,
    "num_attention_heads": 5,
    "intermediate_size": 88,
    "conv_dim": [20, 20, 20],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 4, 4],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 34,
    "num_labels": LABELS,
}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
TEXT = BERT | {"projection_dim": 34, "bos_token_id": 1, "eos_token_id": 2}
PAIR = {"text_config": TEXT, "vision_config": VIT | {"projection_dim": 34}, "projection_dim": 34}

SENSES = [
    Architecture("ASTForAudioClassification", "audio_spectrogram_transformer", spectrogram,
                 VIT | {"max_length": 34, "num_mel_bins": 20, "frequency_stride": 6,
                 "time_stride": 6}),
    Architecture("HubertForSequenceClassification", "hubert", waveform, SOUND),
    Architecture("Data2VecAudioForCTC", "data2vec", waveform, SOUND),
    Architecture("SEWForCTC", "sew", waveform, SOUND | {"squeeze_factor": 2}),
    Architecture("SEWDForCTC", "sew_d", waveform,
                 SOUND | {"squeeze_factor": 2, "max_position_embeddings": 37,
                 "position_buckets": 8}),
    Architecture("UniSpeechForCTC", "unispeech", waveform, SOUND),
    Architecture("UniSpeechSatForCTC", "unispeech_sat", waveform, SOUND),
    Architecture("Wav2Vec2ForCTC", "wav2vec2", waveform, SOUND),
    Architecture("Wav2Vec2ForSequenceClassification", "wav2vec2", waveform, SOUND | STABLE),
    Architecture("Wav2Vec2ConformerForCTC", "wav2vec2_conformer", waveform, SOUND),
    Architecture("WavLMForCTC", "wavlm", waveform, SOUND | {"num_buckets": 32}),
    Architecture("BlipForImageTextRetrieval", "blip", image_and_text,
                 PAIR | {"image_text_hidden_size": 26}, output="itm_score"),
    Architecture("ChineseCLIPModel", "chinese_clip", image_and_text, PAIR,
                 output="logits_per_image"),
    Architecture("CLIPModel", "clip", image_and_text, PAIR, output="logits_per_image"),
    Architecture("GroupViTModel", "groupvit", image_and_text,
                 PAIR | {"vision_config": {"image_size": 32, "patch_size": 8, "hidden_size": 60,
                 "num_attention_heads": 5, "intermediate_size": 88, "depths": [1, 1, 1],
                 "num_group_tokens": [8, 6, 0], "num_output_groups": [8, 6, 6]},
                 "projection_intermediate_dim": 46}, output="logits_per_image"),
    Architecture("SiglipModel", "siglip", image_and_text, PAIR | {"text_config": TEXT |
                 {"projection_size": 60}}, output="logits_per_image"),
]  # fmt: skip

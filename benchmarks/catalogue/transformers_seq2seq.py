"""Tiny configurations of transformers' encoder-decoders.

They also return the hidden states of the encoder; only the logits count as outputs.
"""

from __future__ import annotations

from .transformers_decoders import SHORT_WINDOW, WIDE
from .transformers_inputs import (
    LABELS,
    VOCABULARY,
    mel,
    mel_and_target,
    source_and_target,
)
from .transformers_models import Architecture

BART = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 37,
    "d_model": 60,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 5,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 88,
    "decoder_ffn_dim": 68,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 60,
    "d_kv": 14,
    "d_ff": 88,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 5,
    "relative_attention_num_buckets": 16,
    "use_cache": False,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}
SPEECH = BART | {
    "num_mel_bins": 20,
    "max_source_positions": 15,
    "max_target_positions": 37,
    "begin_suppress_tokens": None,
    "suppress_tokens": None,
}
NESTED = WIDE | SHORT_WINDOW

SEQ2SEQ = [
    Architecture(model, family, source_and_target, config, output="logits")
    for model, family, config in (
        ("BartForConditionalGeneration", "bart", BART),
        ("BigBirdPegasusForConditionalGeneration", "bigbird_pegasus",
         BART | {"attention_type": "original_full"}),
        ("BlenderbotForConditionalGeneration", "blenderbot", BART),
        ("BlenderbotSmallForConditionalGeneration", "blenderbot_small", BART),
        ("FSMTForConditionalGeneration", "fsmt",
         BART | {"src_vocab_size": VOCABULARY, "tgt_vocab_size": 109, "langs": ["en", "de"]}),
        ("LEDForConditionalGeneration", "led",
         BART | {"attention_window": 4, "max_encoder_position_embeddings": 37,
                 "max_decoder_position_embeddings": 37}),
        ("LongT5ForConditionalGeneration", "longt5", T5 | {"local_radius": 3}),
        ("M2M100ForConditionalGeneration", "m2m_100", BART),
        ("MarianMTModel", "marian", BART | {"decoder_vocab_size": VOCABULARY}),
        ("MBartForConditionalGeneration", "mbart", BART),
        ("MT5ForConditionalGeneration", "mt5", T5 | {"feed_forward_proj": "gated-gelu"}),
        ("MvpForConditionalGeneration", "mvp", BART),
        ("NllbMoeForConditionalGeneration", "nllb_moe",
         BART | {"num_experts": 5, "expert_capacity": 11, "encoder_sparse_step": 2,
                 "decoder_sparse_step": 2}),
        ("PegasusForConditionalGeneration", "pegasus", BART),
        ("PegasusXForConditionalGeneration", "pegasus_x",
         BART | {"num_global_tokens": 3, "block_size": 4}),
        ("PLBartForConditionalGeneration", "plbart", BART),
        ("ProphetNetForConditionalGeneration", "prophetnet",
         {"vocab_size": VOCABULARY, "hidden_size": 60, "encoder_ffn_dim": 88,
          "decoder_ffn_dim": 68, "num_encoder_layers": 2, "num_decoder_layers": 2,
          "num_encoder_attention_heads": 5, "num_decoder_attention_heads": 6,
          "max_position_embeddings": 37, "num_buckets": 16, "ngram": 2, "use_cache": False}),
        ("SwitchTransformersForConditionalGeneration", "switch_transformers",
         T5 | {"num_experts": 5, "expert_capacity": 11, "num_sparse_encoder_layers": 1,
               "num_sparse_decoder_layers": 1}),
        ("T5ForConditionalGeneration", "t5", T5),
        ("T5GemmaForConditionalGeneration", "t5gemma",
         {"encoder": NESTED, "decoder": NESTED | {"cross_attention_hidden_size": 60},
          "vocab_size": VOCABULARY, "use_cache": False}),
        ("UMT5ForConditionalGeneration", "umt5", T5),
    )
] + [
    Architecture("WhisperForConditionalGeneration", "whisper", mel_and_target, SPEECH,
                 output="logits"),
    Architecture("WhisperForAudioClassification", "whisper", mel,
                 SPEECH | {"num_labels": LABELS, "classifier_proj_size": 34}),
]  # fmt: skip

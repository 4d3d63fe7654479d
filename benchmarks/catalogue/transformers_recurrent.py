"""Tiny configurations of transformers' recurrent and hybrid decoders.

State size 10, convolutions of width 4; other sizes as for the dense decoders.
"""

from __future__ import annotations

from .transformers_decoders import GROUPED, PLAIN, WIDE
from .transformers_experts import EXPERTS
from .transformers_inputs import VOCABULARY, tokens
from .transformers_models import Architecture

MAMBA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 60,
    "state_size": 10,
    "num_hidden_layers": 2,
    "conv_kernel": 4,
    "expand": 2,
    "time_step_rank": 14,
    "use_cache": False,
}
MAMBA2 = {
    "vocab_size": VOCABULARY,
    "hidden_size": 60,
    "state_size": 10,
    "num_hidden_layers": 2,
    "conv_kernel": 4,
    "expand": 2,
    "num_heads": 8,
    "head_dim": 15,
    "n_groups": 2,
    "chunk_size": 4,
    "use_cache": False,
}
HYBRID = GROUPED | {
    "mamba_d_state": 10,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_dt_rank": 14,
}
HYBRID2 = GROUPED | {
    "mamba_d_state": 10,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_n_heads": 8,
    "mamba_d_head": 15,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 4,
}
DELTA = {
    "linear_num_key_heads": 3,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
}

RECURRENT = [
    Architecture("BambaForCausalLM", "bamba", tokens, HYBRID2 | {"attn_layer_indices": [1]}),
    Architecture("FalconH1ForCausalLM", "falcon_h1", tokens,
                 HYBRID2 | {"mamba_d_ssm": 120, "head_dim": 10}),
    Architecture("FalconMambaForCausalLM", "falcon_mamba", tokens, MAMBA),
    Architecture("GraniteMoeHybridForCausalLM", "granitemoehybrid", tokens,
                 HYBRID2 | EXPERTS | {"layer_types": ["mamba", "attention"],
                 "shared_intermediate_size": 34}),
    Architecture("JambaForCausalLM", "jamba", tokens,
                 HYBRID | EXPERTS | {"attn_layer_period": 2, "attn_layer_offset": 1,
                 "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 5}),
    Architecture("Lfm2ForCausalLM", "lfm2", tokens,
                 GROUPED | {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3}),
    Architecture("MambaForCausalLM", "mamba", tokens, MAMBA),
    Architecture("Mamba2ForCausalLM", "mamba2", tokens, MAMBA2),
    Architecture("MiniMaxForCausalLM", "minimax", tokens,
                 WIDE | EXPERTS | {"layer_types": ["linear_attention", "full_attention"],
                 "block_size": 4}),
    Architecture("NemotronHForCausalLM", "nemotron_h", tokens,
                 GROUPED | {"head_dim": 10, "ssm_state_size": 10, "mamba_num_heads": 8,
                 "mamba_head_dim": 15, "n_groups": 2, "conv_kernel": 4, "chunk_size": 4,
                 "num_hidden_layers": 3, "hybrid_override_pattern": "M*-"}),
    Architecture("Qwen3NextForCausalLM", "qwen3_next", tokens,
                 WIDE | EXPERTS | DELTA | {"shared_expert_intermediate_size": 34}),
    Architecture("Qwen3_5ForCausalLM", "qwen3_5", tokens, WIDE | DELTA),
    Architecture("RecurrentGemmaForCausalLM", "recurrent_gemma", tokens,
                 GROUPED | {"num_hidden_layers": 3, "lru_width": 66, "attention_window_size": 5,
                 "num_attention_heads": 6, "num_key_value_heads": 1, "head_dim": 14}),
    Architecture("RwkvForCausalLM", "rwkv", tokens,
                 {"vocab_size": VOCABULARY, "context_length": 37, "hidden_size": 60,
                  "attention_hidden_size": 44, "intermediate_size": 88, "num_hidden_layers": 2,
                  "use_cache": False}),
    Architecture("xLSTMForCausalLM", "xlstm", tokens,
                 {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2,
                  "num_heads": 4, "chunk_size": 16, "use_cache": False,
                  "mode": "inference"}),
    Architecture("ZambaForCausalLM", "zamba", tokens,
                 PLAIN | {"num_attention_heads": 6, "num_key_value_heads": 6,
                 "attention_hidden_size": 120, "mamba_d_state": 10, "mamba_d_conv": 4,
                 "mamba_expand": 2, "mamba_dt_rank": 14, "n_mamba_heads": 2,
                 "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2}),
    Architecture("Zamba2ForCausalLM", "zamba2", tokens,
                 PLAIN | {"num_attention_heads": 6, "num_key_value_heads": 6,
                 "mamba_d_state": 10, "mamba_d_conv": 4, "mamba_expand": 2, "n_mamba_heads": 8,
                 "mamba_headdim": 15, "mamba_ngroups": 1, "chunk_size": 4, "num_mem_blocks": 1,
                 "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2,
                 "adapter_rank": 22, "use_mem_rope": True}),
]  # fmt: skip

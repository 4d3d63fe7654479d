"""Tiny configurations of transformers' mixtures of experts.

Sizes: 5 experts of width 26, 2 of them for every token. `batched_mm` is the experts'
implementation that has one graph for every input; three are built with the default one too.
"""

from __future__ import annotations

from dataclasses import replace

from .transformers_decoders import GROUPED, SHORT_WINDOW, WIDE
from .transformers_inputs import tokens
from .transformers_models import Architecture

ONE_GRAPH = {"experts_implementation": "batched_mm"}
EXPERTS = ONE_GRAPH | {
    "num_experts": 5,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 26,
}
LATENT = ONE_GRAPH | {
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "q_lora_rank": 22,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 6,
    "v_head_dim": 16,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 26,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
}

BATCHED = [
    Architecture("DeepseekV2ForCausalLM", "deepseek_v2", tokens,
                 GROUPED | LATENT | {"topk_method": "group_limited_greedy"}),
    Architecture("DeepseekV3ForCausalLM", "deepseek_v3", tokens, GROUPED | LATENT),
    Architecture("Dots1ForCausalLM", "dots1", tokens,
                 WIDE | ONE_GRAPH | {"n_routed_experts": 8, "n_shared_experts": 1, "n_group": 4,
                 "topk_group": 2, "num_experts_per_tok": 3, "moe_intermediate_size": 26,
                 "first_k_dense_replace": 1}),
    Architecture("Ernie4_5_MoeForCausalLM", "ernie4_5_moe", tokens,
                 GROUPED | EXPERTS | {"moe_num_experts": 5, "moe_k": 2, "moe_num_shared_experts": 1,
                 "moe_layer_start_index": 1}),
    Architecture("FlexOlmoForCausalLM", "flex_olmo", tokens, GROUPED | EXPERTS),
    Architecture("Glm4MoeForCausalLM", "glm4_moe", tokens,
                 WIDE | ONE_GRAPH | {"head_dim": 16, "n_routed_experts": 8, "n_shared_experts": 1,
                 "n_group": 1, "topk_group": 1, "num_experts_per_tok": 3,
                 "moe_intermediate_size": 26, "first_k_dense_replace": 1}),
    Architecture("GptOssForCausalLM", "gpt_oss", tokens,
                 WIDE | EXPERTS | SHORT_WINDOW | {"intermediate_size": 26}),
    Architecture("GraniteMoeForCausalLM", "granitemoe", tokens, GROUPED | EXPERTS),
    Architecture("GraniteMoeSharedForCausalLM", "granitemoeshared", tokens,
                 GROUPED | EXPERTS | {"shared_intermediate_size": 34}),
    Architecture("HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe", tokens,
                 WIDE | EXPERTS | {"moe_topk": [2, 2], "num_shared_expert": [1, 1]}),
    Architecture("JetMoeForCausalLM", "jetmoe", tokens,
                 WIDE | EXPERTS | {"kv_channels": 14, "num_key_value_heads": 3,
                 "num_attention_heads": 6}),
    Architecture("Llama4ForCausalLM", "llama4", tokens,
                 WIDE | ONE_GRAPH | {"num_local_experts": 5, "num_experts_per_tok": 1,
                 "intermediate_size": 26, "intermediate_size_mlp": 88,
                 "interleave_moe_layer_step": 2}),
    Architecture("MiniMaxM2ForCausalLM", "minimax_m2", tokens,
                 WIDE | EXPERTS | {"intermediate_size": 26}),
    Architecture("MixtralForCausalLM", "mixtral", tokens, GROUPED | EXPERTS),
    Architecture("OlmoeForCausalLM", "olmoe", tokens, GROUPED | EXPERTS),
    Architecture("PhimoeForCausalLM", "phimoe", tokens, GROUPED | EXPERTS),
    Architecture("Qwen2MoeForCausalLM", "qwen2_moe", tokens,
                 GROUPED | EXPERTS | {"shared_expert_intermediate_size": 34,
                 "decoder_sparse_step": 2}),
    Architecture("Qwen3MoeForCausalLM", "qwen3_moe", tokens, WIDE | EXPERTS),
]  # fmt: skip

DEFAULTS = [
    replace(
        architecture,
        config={k: v for k, v in architecture.config.items() if k not in ONE_GRAPH},
        name=f"{architecture.model}-default",
    )
    for architecture in BATCHED
    if architecture.family in ("deepseek_v3", "mixtral", "qwen3_moe")
]

MIXTURES = [*BATCHED, *DEFAULTS]

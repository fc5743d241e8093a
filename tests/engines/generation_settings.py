"""Models that are shipped with a generation configuration."""

import json
import shutil
from pathlib import Path

# Every setting that changes what `generate` samples, or how long, or how it computes.
SETTINGS = {
    "repetition_penalty": {"repetition_penalty": 1.8},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.8},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
    "suppress_tokens": {"suppress_tokens": list(range(100, 280))},
    "begin_suppress_tokens": {"begin_suppress_tokens": list(range(3, 290))},
    "bad_words_ids": {"bad_words_ids": [[token] for token in range(100, 280)]},
    "sequence_bias": {"sequence_bias": [[[5], 40.0]]},
    "min_new_tokens": {"min_new_tokens": 25},
    "min_length": {"min_length": 80},
    "max_new_tokens": {"max_new_tokens": 2},
    "max_length": {"max_length": 1},
    "num_beams": {"num_beams": 3, "early_stopping": True},
    "beam sampling": {"num_beams": 2, "do_sample": True},
    "forced_bos_token_id": {"forced_bos_token_id": 7},
    "forced_eos_token_id": {"forced_eos_token_id": 2},
    "sampling": {"do_sample": True, "temperature": 0.1, "top_k": 1, "top_p": 0.1},
    "typical_p": {"do_sample": True, "typical_p": 0.1},
    "min_p": {"do_sample": True, "min_p": 0.9},
    "epsilon_cutoff": {"do_sample": True, "epsilon_cutoff": 0.5},
    "eta_cutoff": {"do_sample": True, "eta_cutoff": 0.5},
    "top_h": {"do_sample": True, "top_h": 0.1},
    "guidance_scale": {"guidance_scale": 3.0},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": [1, 5.0]},
    "remove_invalid_values": {"remove_invalid_values": True},
    "renormalize_logits": {"renormalize_logits": True},
    "stop_strings": {"stop_strings": ["e", "a", "t"]},
    "max_time": {"max_time": 1e-9},
    "watermarking_config": {"watermarking_config": {"bias": 9.0, "greenlist_ratio": 0.5}},
    "no cache": {"use_cache": False},
    "cache_implementation": {"cache_implementation": "static"},
    "quantized cache": {"cache_implementation": "offloaded"},
    "prefill_chunk_size": {"prefill_chunk_size": 4},
    "output_scores": {"output_scores": True, "output_logits": True, "return_dict_in_generate": True},
    "prompt_lookup_num_tokens": {"prompt_lookup_num_tokens": 3},
    "num_return_sequences": {"num_return_sequences": 2, "do_sample": True},
    "token_healing": {"token_healing": True},
    "pad_token_id": {"pad_token_id": 9},
}
# Those that transformers loads and refuses to save, or refuses to load.
REFUSED = {
    "greedy with a temperature": {"do_sample": False, "temperature": 0.6},
    "greedy with top-p": {"do_sample": False, "top_p": 0.9},
    "greedy with top-k": {"top_k": 4, "penalty_alpha": 0.6},
    "a length penalty without beams": {"length_penalty": 2.0},
    "a negative pad token": {"pad_token_id": -1},
    "a temperature that is a text": {"temperature": "hot"},
    "no new tokens": {"max_new_tokens": 0},
    "an unknown cache": {"cache_implementation": "none-such"},
    "several greedy sequences": {"num_return_sequences": 3, "do_sample": False},
    "a watermark with unknown fields": {"watermarking_config": {"colour": "green"}},
}


def with_settings(folder, target, **settings):
    """Copy a model, and add to its generation configuration."""
    copy = Path(target) / "model with settings"
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    file = copy / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **settings}), encoding="utf-8")
    return str(copy)

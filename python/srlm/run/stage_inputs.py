"""The settings that each stage of the loop reads, as inputs of its cache key (see `cache_keys.key_inputs`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srlm.config import MICRO_BATCH_LOSSES
from srlm.run import cache_keys
from srlm.run.cache_keys import key_inputs
from srlm.stages import novelty
from srlm.stages.novelty import KnownFile

if TYPE_CHECKING:
    from srlm.config import Config
    from srlm.run.run_dir import RunDir


def seed_judgements(config: Config) -> dict[str, Any]:
    """Return the inputs of judging the human-ranked answers of the seed."""
    exclude = (*cache_keys.SEED_JUDGEMENTS, *cache_keys.unused_sampling_keys(config.judge))
    return key_inputs(config, "judge", "eft.samples", "engine", exclude=exclude)


def eft(config: Config, *, from_judgements: bool) -> dict[str, Any]:
    """Return the inputs of building judge examples; without ranked answers there are none, whatever the settings."""
    if not config.seed_data.eft:
        return key_inputs(config)
    unused = cache_keys.unused_sampling_keys(config.judge) if from_judgements else ("eft.samples",)
    return key_inputs(config, "judge", "eft", exclude=(*cache_keys.VERDICT_SAMPLING, *unused))


def sft(config: Config) -> dict[str, Any]:
    """Return the inputs of a supervised training that starts from a model of the run."""
    return key_inputs(config, "sft")


def base_model(config: Config, base_weights: str | None, *, prints_date: bool) -> dict[str, Any]:
    """Return the inputs of a stage that loads the base model; `base_weights` is their hash, or None if unknown.

    `prints_date`: whether the chat template prints a date, so that `model.date` decides the prompts of all stages.
    """
    model = key_inputs(config, "model", exclude=(*cache_keys.BASE_MODEL, "model.date"))
    day = str(config.model.date) if prints_date else None
    return model | {cache_keys.BASE_WEIGHTS: base_weights, cache_keys.TEMPLATE_DATE: day}


def prompts(config: Config, writer_weights: str | None) -> dict[str, Any]:
    """Return the inputs of generating prompts; `writer_weights` is the hash of a local `prompts.model`."""
    unused = cache_keys.unused_prompt_keys(config.prompts)
    if writer_weights is None:
        return key_inputs(config, "engine", "prompts", exclude=unused)
    inputs = key_inputs(config, "engine", "prompts", exclude=("prompts.model", *unused))
    return inputs | {cache_keys.WRITER_WEIGHTS: writer_weights}


def known_prompts(config: Config, run_dir: RunDir, t: int) -> dict[str, KnownFile]:
    """Return the files of prompts that new prompts for M_t must differ from, by the stages that write them.

    These are the judge's training prompts (those of IFT are the demonstrations), the prompts of earlier iterations and
    the held-out prompts. Held-out prompts that do not come from files of their own are among those of `eft_valid`.
    """
    files = {
        "seed/eft_ranked": KnownFile(run_dir.seed("eft_ranked.jsonl"), novelty.SEED_OR_NEW),
        "seed/eft_valid": KnownFile(run_dir.seed("eft_valid.jsonl"), novelty.HELD_OUT),
    }
    for name in ("held_out", "early_stop") if config.head_to_head.prompt_files else ():
        if (run_dir.entry(f"seed/{name}") or {}).get("rows"):
            files[f"seed/{name}"] = KnownFile(run_dir.seed(f"{name}.jsonl"), novelty.HELD_OUT)
    for earlier in range(2, t):
        files[f"m{earlier}/prompts"] = KnownFile(run_dir.file(earlier, "prompts.jsonl"), novelty.EARLIER)
    return files


def candidates(config: Config) -> dict[str, Any]:
    """Return the inputs of sampling candidates; `config` is that of one iteration."""
    unused = cache_keys.unused_supplier_keys(config.suppliers)
    return key_inputs(config, "engine", "candidates", "suppliers", exclude=unused)


def supplied(config: Config, weights: str | None) -> dict[str, Any]:
    """Return the inputs of sampling the answers of `suppliers.model`; `weights` is the hash of a local one's."""
    names = ("engine", "candidates", "suppliers.model", "suppliers.model_per_prompt")
    return key_inputs(config, *names, exclude=cache_keys.CANDIDATES_PER_PROMPT) | {cache_keys.SUPPLIER_WEIGHTS: weights}


def held_out_answers(config: Config) -> dict[str, Any]:
    """Return the inputs of answering each held-out prompt once."""
    return key_inputs(config, "engine", "candidates", exclude=cache_keys.CANDIDATES_PER_PROMPT)


def verdicts(config: Config) -> dict[str, Any]:
    """Return the inputs of judging candidates."""
    exclude = ("judge.score", *cache_keys.unused_sampling_keys(config.judge))
    return key_inputs(config, "engine", "judge", exclude=exclude)


def held_out_verdicts(config: Config) -> dict[str, Any]:
    """Return the inputs of judging held-out answers, all of whose scores are evaluated."""
    return key_inputs(config, "engine", "judge", exclude=cache_keys.unused_sampling_keys(config.judge))


def pairs(config: Config) -> dict[str, Any]:
    """Return the inputs of selecting preference pairs, without those of the signal."""
    unused = cache_keys.unused_pairing_keys(config.pairs)
    return key_inputs(config, "pairs", "train.kind", exclude=unused)


def dpo(config: Config) -> dict[str, Any]:
    """Return the inputs of a preference training, its early stopping included."""
    compares = config.dpo.eval_steps is not None
    inputs = key_inputs(config, "dpo", exclude=() if compares else cache_keys.EARLY_STOPPING)
    if MICRO_BATCH_LOSSES & set(config.dpo.loss_type):
        inputs["dpo.micro_batch_size"] = config.dpo.micro_batch_size
    return inputs | key_inputs(config, "candidates", exclude=cache_keys.CANDIDATES_PER_PROMPT) if compares else inputs


def m1_logprobs(config: Config) -> dict[str, Any]:
    """Return the inputs of scoring candidates under M1."""
    return key_inputs(config)

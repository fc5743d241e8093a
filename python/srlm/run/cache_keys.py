"""The settings in a stage's cache key, which is a hash over its inputs and decides when the stage is recomputed.

A stage depends on whole configuration sections, without the keys listed here, so a new key of a section counts by
default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srlm.models import registry
from srlm.run.run_dir import NOT_IN_CACHE_KEYS
from srlm.stages import judge_prompt
from srlm.stages.prompt_sources import from_files

if TYPE_CHECKING:
    from srlm.config import Config, JudgeSection, PairsSection, PromptsSection, SuppliersSection

# Keys that name a file whose content is an input of its own: the same file elsewhere is the same input.
FILE_NAMES = ("judge.prompt_file", "head_to_head.prompt_file", "model.chat_template")
# Keys that name the base model, whose weights are an input of their own.
BASE_MODEL = ("model.name", "model.revision")
BASE_WEIGHTS = "the base model's weights"
TEMPLATE_DATE = "the chat template's date"
WRITER_WEIGHTS = "prompts.model's weights"
SUPPLIER_WEIGHTS = "suppliers.model's weights"
# Unused where each prompt is answered once, as held-out prompts are.
CANDIDATES_PER_PROMPT = ("candidates.per_prompt",)
# How verdicts are sampled and parsed; the building of judge examples does not depend on it.
VERDICT_SAMPLING = (
    "judge.samples",
    "judge.temperature",
    "judge.top_p",
    "judge.max_tokens",
    "judge.score",
    "judge.score_pattern",
)
# Unused for judgements of the seed data, which have `eft.samples` and use the score in the text.
SEED_JUDGEMENTS = ("judge.samples", "judge.score")
# Unused where no checkpoints are compared.
EARLY_STOPPING = ("dpo.early_stopping_patience",)
# Settings that at this value change nothing, so that runs from before they existed keep their stages. (Any other new
# setting makes the stages that read its section stale, because its default may differ from what the code did before.)
CHANGES_NOTHING = {"sft.ranking_balance": False, "pairs.max_count": None}
# Inputs that are not settings, and the settings that they come from.
EXPLAINED_BY = {
    BASE_WEIGHTS: BASE_MODEL,
    TEMPLATE_DATE: ("model.date",),
    "seed_data": ("seed",),
    "held-out prompts": ("head_to_head.prompts", "head_to_head.prompt_files", "seed_data", "seed", "dpo.eval_steps"),
    "early-stopping prompts": ("head_to_head.prompts", "head_to_head.prompt_files", "seed_data", "seed"),
    "judge prompt": ("judge.prompt_file",),
    "pairwise prompt": ("head_to_head.prompt_file",),
    "meta-judge prompt": ("judge_data.justify",),
    "chat template": ("model.chat_template",),
    WRITER_WEIGHTS: ("prompts.model",),
    SUPPLIER_WEIGHTS: ("suppliers.model",),
    "judge's weights": ("head_to_head.judge",),
}


def key_inputs(config: Config, *names: str, exclude: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the inputs of a stage's cache key by name: the seed, settings, and the text of files that they name.

    Args:
        config: the configuration.
        names: sections, or single keys as `section.key`.
        exclude: keys of these sections that the stage does not use.
    """
    values = config.model_dump(mode="json", by_alias=True)
    settings = {
        f"{section}.{key}": value
        for section, content in values.items()
        if isinstance(content, dict)
        for key, value in content.items()
    }
    left_out = {*NOT_IN_CACHE_KEYS, *FILE_NAMES, *exclude}
    inputs = {"seed": values["seed"]} | {
        key: value
        for key, value in settings.items()
        if key not in left_out
        and (key in names or key.partition(".")[0] in names)
        and not (key in CHANGES_NOTHING and value == CHANGES_NOTHING[key])
    }
    if "judge" in names:
        inputs["judge prompt"] = judge_prompt.read_template(config.judge)
    if config.model.chat_template is not None:
        inputs["chat template"] = registry.read_chat_template(config.model.chat_template)
    return inputs


def unused_sampling_keys(judge: JudgeSection) -> tuple[str, ...]:
    """Return the sampling keys that a judge without justification does not use: it decodes one token greedily."""
    if judge.justify:
        return ()
    return ("judge.samples", "judge.temperature", "judge.top_p", "judge.max_tokens", "eft.samples")


def unused_prompt_keys(prompts: PromptsSection) -> tuple[str, ...]:
    """Return the keys that do not decide self-written prompts: those of files, whose rows are inputs themselves."""
    of_files = ("prompts.files", "prompts.cycle")
    if prompts.source == "self_instruct":
        return (*of_files, "prompts.source", "prompts.self_instruct_share")
    if from_files(prompts) < prompts.count:
        return of_files
    return tuple(f"prompts.{name}" for name in type(prompts).model_fields)


def unused_supplier_keys(suppliers: SuppliersSection) -> tuple[str, ...]:
    """Return the keys of suppliers that the configured ones do not use."""
    unused = [] if suppliers.hot_per_prompt else ["suppliers.hot_temperature"]
    return (*unused, *([] if suppliers.model is not None else ["suppliers.model_per_prompt"]))


def unused_pairing_keys(pairs: PairsSection) -> tuple[str, ...]:
    """Return the keys that only other pairing methods than the configured one use."""
    methods = {
        "pairs.rho": ("length_controlled",),
        "pairs.top_k": ("top_bottom",),
        "pairs.max_per_prompt": ("margin", "top_bottom"),
    }
    return tuple(key for key, using in methods.items() if pairs.method not in using)


def explain_changes(changes: dict[str, str], inputs: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split changed inputs: the changed settings among them, and the inputs that no changed setting explains."""
    settings = {key: change for key, change in changes.items() if any(_covers(name, key) for name in inputs)}
    return settings, [name for name in inputs if not any(_covers(name, key) for key in settings)]


def _covers(name: str, key: str) -> bool:
    return any(key == part or key.startswith(f"{part}.") for part in (name, *EXPLAINED_BY.get(name, ())))

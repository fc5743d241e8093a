"""What each kind of stage reads of the configuration: what its key is made from, and so when it is made again.

A stage depends on the sections that are named for it, but for the keys that are listed here: a new key of a section
counts until it is listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srlm.evaluation import pairwise
from srlm.models import registry
from srlm.run.run_dir import EXTENDABLE
from srlm.stages import judge

if TYPE_CHECKING:
    from srlm.config import Config, JudgeSection, PairsSection

ENDPOINT = "endpoint"  # who compares: a server
# Names of files whose content is a part of its own: a file that is somewhere else is the same file.
NAMES = ("judge.prompt_file", "head_to_head.prompt_file", "model.chat_template")
# The names of the base model: its weights are a part of their own.
BASE_MODEL = ("model.name", "model.revision")
BASE_WEIGHTS = "the base model's weights"
# How a prompt is answered once only, as held-out prompts are.
ONCE = ("candidates.per_prompt",)
# How the judge is asked and its replies are read: nothing of it is in the examples that teach to judge.
ASKING = ("judge.samples", "judge.temperature", "judge.top_p", "judge.max_tokens", "judge.score", "judge.score_pattern")
# The judge of EFT has a number of samples of its own, and what is written is what counts there.
JUDGEMENTS = ("judge.samples", "judge.score")
# Which prompts are compared, and on whom, is no matter of one comparison.
COMPARING = ("head_to_head.prompts", "head_to_head.prompt_files", "head_to_head.against")
# Which checkpoint is the last to be compared, where none is compared.
NO_CHECKPOINTS = ("dpo.patience",)
# Parts that are no settings, and the settings that they come from.
EXPLAINED_BY = {
    BASE_WEIGHTS: BASE_MODEL,
    "seed_data": ("seed",),
    "held-out prompts": ("head_to_head.prompts", "head_to_head.prompt_files", "seed_data", "seed"),
    "judge prompt": ("judge.prompt_file",),
    "comparing prompt": ("head_to_head.prompt_file",),
    "chat template": ("model.chat_template",),
    "prompts.model's weights": ("prompts.model",),
    "judge's weights": ("head_to_head.judge",),
}


def sections(config: Config, *names: str, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what decides what comes out, by keys: the seed, parts of a configuration, the texts of files they name.

    Args:
        config: the configuration.
        names: sections, or single keys as `section.key`.
        but: keys of these sections that are not read.
    """
    values = config.model_dump(mode="json", by_alias=True)
    every = {
        f"{section}.{key}": value
        for section, content in values.items()
        if isinstance(content, dict)
        for key, value in content.items()
    }
    left_out = {*EXTENDABLE, *NAMES, *but}
    parts = {"seed": values["seed"]} | {
        key: value
        for key, value in every.items()
        if key not in left_out and (key in names or key.partition(".")[0] in names)
    }
    if "judge" in names:
        parts["judge prompt"] = judge.read_template(config.judge)
    if "head_to_head" in names and config.head_to_head.by == "comparison":
        parts["comparing prompt"] = pairwise.read_template(config.head_to_head)
    if config.model.chat_template is not None:
        parts["chat template"] = registry.read_chat_template(config.model.chat_template)
    return parts


def drawing(judge: JudgeSection) -> tuple[str, ...]:
    """Return the keys of drawing replies if none is drawn: without reasons a judge writes one token, the likeliest."""
    if judge.justify:
        return ()
    return ("judge.samples", "judge.temperature", "judge.top_p", "judge.max_tokens", "eft.samples")


def compared(config: Config) -> dict[str, Any]:
    """Return what decides how two answers are compared: of the settings, what the way of comparing reads."""
    how, names = config.head_to_head, ["engine", "head_to_head"]
    but: tuple[str, ...] = COMPARING
    if how.by == "scores":
        names.append("judge")
        but += ("head_to_head.justify", "head_to_head.max_tokens", *drawing(config.judge))
    elif not how.justify and how.judge != ENDPOINT:
        but += ("head_to_head.max_tokens",)  # one token is read
    if how.judge == ENDPOINT:
        names.append("endpoint")
    return sections(config, *names, but=but)


def choosing(pairs: PairsSection) -> tuple[str, ...]:
    """Return the keys of choosing pairs that the method does not read."""
    read = {
        "pairs.rho": ("length_controlled",),
        "pairs.top_k": ("top_bottom",),
        "pairs.max_per_prompt": ("margin", "top_bottom"),
    }
    return tuple(key for key, methods in read.items() if pairs.method not in methods)


def differing(changes: dict[str, str], parts: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return those changes of keys that are among the parts of a stage, and the parts that no changed key explains."""
    said = {key: change for key, change in changes.items() if any(_covers(part, key) for part in parts)}
    return said, [part for part in parts if not any(_covers(part, key) for key in said)]


def _covers(part: str, key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in (part, *EXPLAINED_BY.get(part, ())))

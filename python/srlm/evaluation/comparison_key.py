"""Which settings decide how two answers are compared: the inputs of the cache keys of all comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srlm.evaluation import pairwise
from srlm.run.cache_keys import key_inputs, unused_sampling_keys

if TYPE_CHECKING:
    from srlm.config import Config

ENDPOINT = "endpoint"  # value of `head_to_head.judge`: a chat completions server
# Which prompts are compared, and with which baselines, does not change a single comparison.
SCOPE = ("head_to_head.prompts", "head_to_head.prompt_files", "head_to_head.baselines")


def comparison_key_inputs(config: Config) -> dict[str, Any]:
    """Return the settings and texts that the configured comparison depends on (see `cache_keys.key_inputs`)."""
    how, names = config.head_to_head, ["engine", "head_to_head"]
    exclude: tuple[str, ...] = SCOPE
    if how.by == "pointwise":
        names.append("judge")
        exclude += ("head_to_head.justify", "head_to_head.max_tokens", *unused_sampling_keys(config.judge))
    elif not how.justify and how.judge != ENDPOINT:
        exclude += ("head_to_head.max_tokens",)  # one token is decoded
    if how.judge == ENDPOINT:
        names.append("endpoint")
    inputs = key_inputs(config, *names, exclude=exclude)
    if how.by == "pairwise":
        inputs["pairwise prompt"] = pairwise.read_template(how)
    return inputs

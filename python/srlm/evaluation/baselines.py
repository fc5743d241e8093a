"""Which models are compared with which. Imports little, as `srlm status` uses it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.run.model_names import BASE, SFT_BASELINE, iteration, model_name, training_order

if TYPE_CHECKING:
    from srlm.config import Config


def has_sft_baseline(config: Config) -> bool:
    """Return whether the run trains M0 on IFT alone, to let it judge the ranked answers."""
    return bool(config.seed_data.eft) and config.eft.source == "judgements"


def measured_before_m1(config: Config) -> list[str]:
    """Return the names of the models that are evaluated beside M1, M2 …: M0, and the SFT baseline if there is one."""
    if not config.evaluate.base:
        return []
    return [BASE, SFT_BASELINE] if has_sft_baseline(config) else [BASE]


def baselines(config: Config, model: int | str) -> list[str]:
    """Return the names of the models that a model is compared with, latest first; all of them are made before it."""
    name = model_name(model)
    t = iteration(name)
    names = {"previous": model_name(t - 1) if t > 1 else None, "first": "m1", "sft": SFT_BASELINE, "base": BASE}
    named = {names[key] for key in config.head_to_head.baselines}
    evaluated = [*measured_before_m1(config), *(model_name(number) for number in range(1, t))]
    earlier = [other for other in evaluated if other in named and training_order(other) < training_order(name)]
    return sorted(earlier, key=training_order, reverse=True)


def matches(config: Config, t: int) -> list[tuple[str, str]]:
    """Return the comparisons that become possible with M_t, each as (later model, earlier model)."""
    later = [SFT_BASELINE, model_name(t)] if t == 1 and SFT_BASELINE in measured_before_m1(config) else [model_name(t)]
    return [(name, baseline) for name in later for baseline in baselines(config, name)]


def wants_held_out(config: Config) -> bool:
    """Return whether the run compares models or checkpoints on held-out prompts, if there are any."""
    measured = measured_before_m1(config)
    exists = {"base": BASE in measured, "sft": SFT_BASELINE in measured}
    compares = any(exists.get(name, True) for name in config.head_to_head.baselines)
    return config.head_to_head.prompts > 0 and (compares or config.dpo.eval_steps is not None)


READINGS = "implicit_preferences"  # the stage, and the stem of its file, that reads ranked answers under a model


def wants_readings(config: Config) -> bool:
    """Return whether held-out ranked answers are read under M0 and every later model, if there are any."""
    return config.evaluate.implicit_preferences and config.evaluate.base and bool(config.seed_data.eft)

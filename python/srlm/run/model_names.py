"""The names of a run's models: their folders in the run directory, and the prefixes of their stages.

`m1`, `m2` … are the trained models. `m0` is M0, the base model: its folder has its evaluation only, since its weights
are not the run's. `sft` is the SFT baseline, M0 trained on IFT examples alone. The paper compares its models with it;
a run has it if it judges the ranked answers for EFT (`eft.from: judgements`).
"""

from __future__ import annotations

BASE = "m0"
SFT_BASELINE = "sft"


def model_name(model: int | str) -> str:
    """Return the name of M_t by its number t; a name stays as it is."""
    return f"m{model}" if isinstance(model, int) else model


def is_model(name: str) -> bool:
    """Tell whether a name, such as the part of a stage's name before the slash, is that of a model."""
    return name == SFT_BASELINE or (name[:1] == "m" and name[1:].isascii() and name[1:].isdigit())


def iteration(name: str) -> int:
    """Return t of M_t; 0 for the SFT baseline too, which comes before the first iteration, as M0 does."""
    return 0 if name == SFT_BASELINE else int(name[1:])


def display_name(model: int | str) -> str:
    """Return a model's name in tables and texts: M0, SFT baseline, M1 …."""
    name = model_name(model)
    return "SFT baseline" if name == SFT_BASELINE else name.upper()


def training_order(name: str) -> tuple[int, bool]:
    """Return a key that sorts models in the order in which they are made: M0, the SFT baseline, M1, M2 …."""
    return iteration(name), name == SFT_BASELINE

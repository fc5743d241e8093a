"""The signals by `signal.kind`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.signals.function import FunctionSignal
from srlm.signals.human import HumanSignal
from srlm.signals.implicit import ImplicitSignal
from srlm.signals.judge import JudgeSignal
from srlm.signals.majority import MajoritySignal
from srlm.signals.pairwise import PairwiseSignal
from srlm.signals.random import RandomSignal
from srlm.signals.rules import RulesSignal

if TYPE_CHECKING:
    from srlm.config import Config
    from srlm.signals.base import Signal

SIGNALS: dict[str, type[Signal]] = {
    "judge": JudgeSignal,
    "rules": RulesSignal,
    "majority": MajoritySignal,
    "pairwise": PairwiseSignal,
    "implicit": ImplicitSignal,
    "function": FunctionSignal,
    "human": HumanSignal,
    "random": RandomSignal,
}


def signal_of(config: Config) -> Signal:
    """Return the signal that the configuration selects, with the settings of one iteration (`Config.at`)."""
    return SIGNALS[config.signal.kind](config)

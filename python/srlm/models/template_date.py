"""Chat templates that print today's date: the date is frozen, so that a prompt is the same text on every day.

Templates get the date from transformers' function `strftime_now(format)`. A run freezes it at the day on which the run
started (`model.date`), an individual command at `DEFAULT`.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# The date that Llama 3's templates print where no clock is available.
DEFAULT = date(2024, 7, 26)
FUNCTION = "strftime_now"
CALL = re.compile(FUNCTION + r"""\(\s*("[^"\\]*"|'[^'\\]*')\s*\)""")
DEFINED = re.compile(FUNCTION + r"\s+is\s+(not\s+)?defined\b")


def prints_date(template: str) -> bool:
    """Tell whether a chat template asks for today's date."""
    return FUNCTION in template


def freeze(template: str, day: date) -> str:
    """Return a template with the date as text in place of every call with a literal format.

    So both renderers print the same. Any other use of the function is left, and needs `frozen_function`.
    """
    strftime = frozen_function(day)
    template = CALL.sub(lambda found: _literal(strftime(found[1][1:-1])), template)
    return DEFINED.sub(lambda found: "false" if found[1] else "true", template)


def frozen_function(day: date) -> Callable[[str], str]:
    """Return transformers' `strftime_now` for midnight of a day."""
    return datetime.combine(day, time()).strftime


def _literal(text: str) -> str:
    """Return a text as a string of Jinja."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

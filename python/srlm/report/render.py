"""Fills the templates: one HTML file that holds all it needs and asks nothing of any network.

A content security policy forbids every request and every script but the page's own, named by their hashes. What models
and people wrote reaches the page as escaped text (jinja) or as JSON that the script shows by `textContent`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2

from srlm import __version__
from srlm.report.text import figure, interval, with_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def render(template: str, *, scripts: Sequence[str], data: Mapping[str, Any], **values: object) -> str:
    """Fill a template of this package; style, `scripts` (sources) and their `data` are put into the page itself."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(packaged),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"estimate": with_interval, "figure": figure, "interval": interval}
    return environment.get_template(template).render(
        style=packaged("style.css"),
        scripts=scripts,
        policy=_policy(scripts),
        data={name: script_json(value) for name, value in data.items()},
        version=__version__,
        **values,
    )


def packaged(name: str) -> str:
    """Return a file of the folder of templates."""
    return (resources.files("srlm.report") / "templates" / name).read_text(encoding="utf-8")


def script_json(value: object) -> str:
    """Return JSON that may stand inside a `<script>`: ASCII only, and without a character that HTML could read."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _policy(scripts: Sequence[str]) -> str:
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests) or "'none'"
    # plotly writes style attributes, which no hash can name.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )

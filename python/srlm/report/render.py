"""Renders the templates into one self-contained HTML file that makes no network requests.

A content security policy forbids every request and every script except the page's own, listed by their hashes. Text
written by models and users reaches the page as escaped text (jinja) or as JSON that the script shows by `textContent`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2

from srlm import __version__
from srlm.report.text import format_number, interval, with_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def render(template: str, *, scripts: Sequence[str], data: Mapping[str, Any], **values: object) -> str:
    """Render a template of this package; the style sheet, `scripts` (sources) and their `data` are inlined."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"estimate": with_interval, "number": format_number, "interval": interval}
    return environment.get_template(template).render(
        style=read_template("style.css"),
        scripts=scripts,
        policy=_content_security_policy(scripts),
        data={name: script_json(value) for name, value in data.items()},
        version=__version__,
        **values,
    )


def read_template(name: str) -> str:
    """Return the text of a file in `templates/`."""
    return (resources.files("srlm.report") / "templates" / name).read_text(encoding="utf-8")


def script_json(value: object) -> str:
    """Return JSON that is safe inside a `<script>`: ASCII only, and without characters that HTML interprets."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _content_security_policy(scripts: Sequence[str]) -> str:
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests) or "'none'"
    # plotly sets style attributes, which cannot be allowed by hash.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )

"""What the documents say is what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest
from srlm import config as configuration

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("key", "default", "description"), configuration.describe())
def test_every_setting_is_documented_as_it_is(key: str, default: str, description: str) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert f"`{key}`" in text or f"`{key.rpartition('.')[2]}`" in text
    assert description in text.replace("\\<", "<")


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_pages_are_reached_and_links_lead_somewhere(page: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"docs/{page}" in readme
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for target in (part.partition(")")[0].partition("#")[0] for part in text.split("](")[1:]):
        if target and "://" not in target:
            assert (ROOT / "docs" / target).exists(), f"{page}: {target}"

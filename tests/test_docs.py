"""The documentation matches the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml
from srlm import __version__
from srlm import config as configuration

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("key", "default", "description"), configuration.describe())
def test_every_setting_is_documented(key: str, default: str, description: str) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert f"`{key}`" in text or f"`{key.rpartition('.')[2]}`" in text
    assert description in text.replace("\\<", "<")


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_the_readme_links_to_every_page_and_links_work(page: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"docs/{page}" in readme
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for target in (part.partition(")")[0].partition("#")[0] for part in text.split("](")[1:]):
        if target and "://" not in target:
            assert (ROOT / "docs" / target).exists(), f"{page}: {target}"


def defined_names(file: Path) -> set[str]:
    """Return the functions and methods that a Python or Rust file defines."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".rs":
        return set(re.findall(r"\bfn (\w+)", text))
    return {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}


ROWS = re.findall(
    r"^\| `([\w./]+)` \| `(\w+)` \|", (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.mark.parametrize(("file", "function"), ROWS)
def test_the_functions_of_the_walkthrough_are_where_it_says(file: str, function: str) -> None:
    folder = ROOT if file.startswith(("rust/", "kernels/")) else ROOT / "python" / "srlm"
    assert function in defined_names(folder / file)


def test_the_walkthrough_is_parsed() -> None:
    assert len(ROWS) > 25


@pytest.mark.parametrize("page", ["architecture.md", "walkthrough.md", "reliability.md"])
def test_files_named_in_a_page_exist(page: str) -> None:
    """Names with a folder are looked up as they are, others anywhere."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    sources = [ROOT, ROOT / "python" / "srlm", ROOT / "rust" / "core" / "src"]
    folders = ("python", "kernels", "tests", "benches", "rust")
    names = {file.name for folder in folders for file in (ROOT / folder).rglob("*.*")}
    names |= {file.name for file in ROOT.glob("*.toml")}
    for name in re.findall(r"`([\w/]+\.(?:py|rs|toml))`", text):
        if "/" in name:
            assert any((folder / name).is_file() for folder in sources), f"{page}: {name}"
        else:
            assert name in names, f"{page}: {name}"


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_commands_of_the_docs_are_targets_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", text, re.MULTILINE))
        assert {name for pair in named for name in pair if name} <= targets
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]] == ["make lint"]

"""Dependencies: all are listed with their licences in docs/dependencies.md, and none has a GPL licence."""

import importlib.metadata
import re
import tomllib

import pytest

from tests.conftest import ROOT

DOC = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
LISTED = dict(re.findall(r"^\| ([\w-]+) \| ([^|]+?) \|", DOC, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKSPACE = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["dependencies"]
NAME = re.compile(r"[\w.-]+")


def name_of(requirement):
    return re.sub(r"[-_.]+", "-", NAME.match(requirement)[0]).lower()


def licence_of(package):
    """Return the licence in a package's metadata: the expression, the classifiers, or the field."""
    facts = importlib.metadata.metadata(package)
    classifiers = [text for text in facts.get_all("Classifier") or [] if text.startswith("License ::")]
    return facts.get("License-Expression") or " ".join(classifiers) or (facts.get("License") or "")[:100]


def installed_dependencies():
    """Return the direct and indirect dependencies of srlm that are installed."""
    found, waiting = set(), [name_of(text) for text in PROJECT["dependencies"]]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        found.add(name)
        waiting += [name_of(text) for text in requirements if "extra ==" not in text]
    return sorted(found)


@pytest.mark.parametrize("name", [name_of(text) for text in PROJECT["dependencies"]])
def test_a_package_is_listed_with_its_licence(name):
    licence = licence_of(name).lower().replace("apache software license", "apache-2.0")
    kind = LISTED[name].partition(",")[0].partition("-")[0].lower()
    assert kind in licence


@pytest.mark.parametrize("name", sorted(set(WORKSPACE) - {"srlm-core"}))
def test_a_crate_is_listed(name):
    assert re.search(rf"\b{name}\b", DOC)


def test_no_dependency_has_a_gpl_licence():
    packages = installed_dependencies()
    assert {"torch", "transformers", "huggingface-hub"} <= set(packages)
    assert [name for name in packages if re.search("GPL|GNU", licence_of(name))] == []
    assert {name for name in packages if not licence_of(name)} <= {"cuda-toolkit", "setuptools"}  # NVIDIA's; MIT


def test_the_licence_is_there():
    assert PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text(encoding="utf-8")

"""The modules of the Rust crates do not depend on each other in a circle.

The graph has one node per source file. A file depends on another if one of its paths (`use super::a::B`,
`crate::a::b()`, and `child::f()` in the file that declares `mod child;`) leads to it. Names that a file re-exports are
traced to the file that defines them. Not counted as dependencies:

* `mod child;` and re-exports (`pub use child::Name`): a parent that only declares and re-exports its children does not
  depend on them, so children may use each other's names by way of the parent. A re-exported name that the code of the
  parent uses is a dependency;
* test code: items and files behind `#[cfg(test)]`, `tests.rs` and files below `tests/`;
* comments and strings.
"""

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CRATES = Path(__file__).parents[2] / "rust"

Module = tuple[str, ...]  # () is lib.rs, ("pair", "rules") is pair/rules.rs

NO_CODE = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | \bb?r(?P<hashes>\#*)".*?"(?P=hashes) | "(?:\\.|[^"\\])*" | '(?:\\[^']+|[^\\'])'""",
    re.DOTALL | re.VERBOSE,
)
TEST_ITEM = re.compile(r"#\[cfg\(test\)\]")
USE = re.compile(r"(?P<visibility>\bpub(?:\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]+);")
DECLARATION = re.compile(r"\bmod\s+(?P<name>\w+)\s*;")


def without_tests(source: str) -> str:
    """Remove comments, strings and the items behind `#[cfg(test)]`."""
    code = NO_CODE.sub(" ", source)
    while found := TEST_ITEM.search(code):
        end = re.compile(r"[;{]").search(code, found.end())
        assert end is not None, "an attribute without an item"
        at, depth = end.end(), int(end.group() == "{")
        while depth:
            depth += {"{": 1, "}": -1}.get(code[at], 0)
            at += 1
        code = code[: found.start()] + code[at:]
    return code


def expanded(tree: str) -> Iterator[tuple[list[str], str]]:
    """Yield each path of a use tree, as its segments and the name that it binds."""
    head, brace, rest = tree.partition("{")
    if not brace:
        path, _, alias = (part.strip() for part in tree.partition(" as "))
        segments = [segment for segment in path.split("::") if segment]
        if segments[-1] == "self" and len(segments) > 1:
            segments.pop()
        yield segments, alias or segments[-1]
        return
    depth, item, items = 0, "", []
    for char in rest[: rest.rindex("}")] + ",":
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            items.append(item.strip())
            item = ""
        else:
            item += char
    for part in filter(None, items):
        yield from expanded(head.strip() + part)


class Crate:
    """The source files of a crate, without tests, and the dependencies between them."""

    def __init__(self, folder: Path) -> None:
        self.code: dict[Module, str] = {}
        for file in sorted(folder.rglob("*.rs")):
            module = file.relative_to(folder).with_suffix("").parts
            if "tests" not in module:
                self.code[() if module == ("lib",) else module] = without_tests(file.read_text("utf-8"))
        self.children = {
            module: [(*module, found["name"]) for found in DECLARATION.finditer(code)]
            for module, code in self.code.items()
        }
        declared = {child for children in self.children.values() for child in children} | {()}
        self.code = {module: code for module, code in self.code.items() if module in declared}
        self.exports = {module: dict(self._exports(module)) for module in self.code}

    def graph(self) -> dict[Module, set[Module]]:
        """Return for each file the other files that it depends on."""
        return {module: self._dependencies(module) - {module} for module in self.code}

    def _is_reexport(self, use: re.Match[str]) -> bool:
        return use["visibility"] is not None

    def _exports(self, module: Module) -> Iterator[tuple[str, list[str]]]:
        for use in filter(self._is_reexport, USE.finditer(self.code[module])):
            for segments, name in expanded(use["tree"]):
                yield name, segments

    def _dependencies(self, module: Module) -> set[Module]:
        code = self.code[module]
        paths = [
            segments
            for use in USE.finditer(code)
            if not self._is_reexport(use)
            for segments, _ in expanded(use["tree"])
        ]
        rest = DECLARATION.sub(" ", USE.sub(" ", code))
        paths += [segments for name, segments in self.exports[module].items() if re.search(rf"\b{name}\b", rest)]
        children = [child[-1] for child in self.children[module]]
        start = "|".join(["crate", "super", "self", *children])
        paths += [found.group().split("::") for found in re.finditer(rf"(?<![\w:])(?:{start})(?:::\w+)+", rest)]
        return {target for segments in paths if (target := self._target(module, segments)) is not None}

    def _target(self, module: Module, segments: list[str]) -> Module | None:
        """Return the file that a path written in `module` leads to; None if it leads out of the crate."""
        first, *rest = segments
        if first == "crate":
            at: Module = ()
        elif first == "self":
            at = module
        elif first == "super":
            at = module[:-1]
            while rest and rest[0] == "super":
                at, rest = at[:-1], rest[1:]
        elif (*module, first) in self.code:
            at = (*module, first)
        else:
            return None
        for position, name in enumerate(rest):
            if (*at, name) in self.code:
                at = (*at, name)
            elif (exported := self.exports[at].get(name)) is not None:
                return self._target(at, exported + rest[position + 1 :]) or at
            else:
                break
        return at


def cycle(folder: Path) -> list[str] | None:
    """Return the modules of a cycle, the first one also at the end; None if there is none."""
    try:
        TopologicalSorter(Crate(folder).graph()).prepare()
    except CycleError as error:
        return ["::".join(("crate", *module)) for module in error.args[1]]
    return None


def write_crate(folder: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, "utf-8")
    return folder


@pytest.mark.parametrize("crate", ["core", "python"])
def test_modules_are_acyclic(crate: str) -> None:
    assert cycle(CRATES / crate / "src") is None


def test_dependencies_are_seen() -> None:
    graph = Crate(CRATES / "core" / "src").graph()
    assert graph["pair", "select"] >= {("pair", "rules"), ("pair", "random"), ("error",)}  # by name, by re-export
    assert graph["novelty",] >= {("novelty", "lcs"), ("novelty", "vocabulary")}  # by path, by a private `use`
    assert graph["pair",] == set()  # declares and re-exports
    assert graph["error",] == set()  # comments link to other modules
    assert not any("tests" in module or "tiny" in module for module in graph)


CYCLES = {
    "by use": {"one.rs": "use crate::two::{self, B};", "two.rs": "use super::one::A as Other;"},
    "by an inline path": {"one.rs": "fn a() { super::two::b(); }", "two.rs": "fn b() -> crate::one::A { todo!() }"},
    "by a re-export": {"one.rs": "use crate::B; pub struct A;", "two.rs": "use super::{Error, A};"},
    "by a nested tree": {"one.rs": "use super::{two::{B, C}};", "two.rs": "use crate::{\n    Error,\n    one::A,\n};"},
}


@pytest.mark.parametrize("files", CYCLES.values(), ids=CYCLES)
def test_a_cycle_is_found(tmp_path: Path, files: dict[str, str]) -> None:
    lib = "mod one;\nmod two;\npub use one::A;\npub use two::B;\n"
    found = cycle(write_crate(tmp_path, {"lib.rs": lib, **files}))
    assert found is not None
    assert set(found) == {"crate::one", "crate::two"}


@pytest.mark.parametrize(
    "parent",
    [
        "mod child;\npub struct Parent;\nfn f() { child::g() }\n",
        "mod child;\npub use child::Child;\npub struct Parent(Child);\n",
        "mod child;\nuse child::Child;\npub struct Parent;\n",
    ],
    ids=["path", "re-exported name", "private use"],
)
def test_a_parent_with_code_is_part_of_a_cycle(tmp_path: Path, parent: str) -> None:
    child = "use super::Parent;\n"
    found = cycle(write_crate(tmp_path, {"lib.rs": "mod parent;", "parent.rs": parent, "parent/child.rs": child}))
    assert found is not None
    assert set(found) == {"crate::parent", "crate::parent::child"}


def test_what_is_no_dependency(tmp_path: Path) -> None:
    files = {
        "lib.rs": "mod one;\nmod two;\n#[cfg(test)]\nmod tests;\npub use one::A;\npub use two::B;\n",
        "one.rs": "use super::B;\nfn a<'a>(x: &'a str) -> char { '\"' }\n",
        "two.rs": '// use super::one::A;\n/* crate::one::A */\npub struct B;\nconst T: &str = "super::one::A";\n'
        "#[cfg(test)]\nmod tests {\n    use crate::one::A;\n    fn f() { if true { } }\n}\n"
        'const R: &str = r#"crate::one::A " "#;\n',
        "tests.rs": "use crate::one::A;\n",
    }
    assert cycle(write_crate(tmp_path, files)) is None
    assert Crate(tmp_path).graph() == {(): set(), ("one",): {("two",)}, ("two",): set()}

"""The user's own function: how it is found, what it gets, and what it may return."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from srlm.errors import InputError
from srlm.signals.registry import signal_of

from tests.signals.answers import build, prompt, scored

SOURCE = '''
from os.path import join as joined

def shorter(prompt, answers):
    """Eight lines of docs/signals.md."""
    return [prompt.get("most", 10) - len(answer) if answer else None for answer in answers]

def broken(prompt, answers):
    raise KeyError("no such key")

class Scorer:
    def __call__(self, prompt, answers):
        return [1] * len(answers)

scorer = Scorer()
NUMBER = 3
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a file with functions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine.py").write_text(SOURCE, encoding="utf-8")
    return lambda name: f"{tmp_path}/mine.py:{name}"


def test_it_gets_the_columns_and_the_answers(module):
    found = scored("function", prompt("Say it.", most=5), "abc", "", "abcdef", function=module("shorter"))
    assert [each.score for each in found] == [2.0, None, -1.0]


def test_an_object_that_can_be_called(module):
    assert [each.score for each in scored("function", prompt("p"), "a", function=module("scorer"))] == [1.0]


def test_a_module_of_a_package(tmp_path, monkeypatch):
    folder = tmp_path / "my_rewards"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "short.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = scored("function", prompt("p"), "abc", function="my_rewards.short:shorter")
    assert [each.score for each in found] == [7.0]


def test_modules_beside_the_file_can_be_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "srlm_test_helper.py").write_text("BONUS = 2\n", encoding="utf-8")
    source = "from srlm_test_helper import BONUS\n\ndef score(prompt, answers):\n    return [BONUS for _ in answers]\n"
    (tmp_path / "with_helper.py").write_text(source, encoding="utf-8")
    found = scored("function", prompt("p"), "a", function=f"{tmp_path}/with_helper.py:score")
    assert [each.score for each in found] == [2.0]


def test_the_function_of_the_documentation(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "signals.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(source.splitlines()) <= 9
    (tmp_path / "rewards.py").write_text(source, encoding="utf-8")
    words = re.search(r"signal.kind=function signal.function=rewards.py:(\w+)", page)
    found = scored(
        "function", prompt("p", word="tea"), "tea", "no", "more tea now", function=f"{tmp_path}/rewards.py:{words[1]}"
    )
    assert [each.score for each in found] == [1 / 2, 0.0, 1 / 4]


NOT_FOUND = [
    ("mine", "is not of the form"),
    ("mine.py", "is not of the form"),
    ("mine:", "is not of the form"),
    ("other.py:shorter", "other.py does not exist"),
    ("no_such_package.module:f", "no_such_package"),
    ("no_such_module_at_all:f", "there is no module no_such_module_at_all"),
    ("mine.py:longer", "has no longer; its functions: shorter, broken"),
    ("math:floor", "there is no module math"),  # it has no source
]


@pytest.mark.parametrize(("name", "part"), NOT_FOUND)
def test_what_is_not_found(module, name, part):
    with pytest.raises(InputError) as error:
        signal_of(build("function", function=name)).check([])
    assert str(error.value).startswith("signal.function")
    assert part in str(error.value)


def test_the_check_runs_nothing(tmp_path):
    (tmp_path / "heavy.py").write_text("raise SystemExit\ndef f(prompt, answers): ...\n", encoding="utf-8")
    signal_of(build("function", function=f"{tmp_path}/heavy.py:f")).check([])


@pytest.mark.parametrize("name", ["shorter", "scorer", "joined", "Scorer"])
def test_names_that_are_defined_or_imported(module, name):
    signal_of(build("function", function=module(name))).check([])


def test_a_number_is_no_function(module):
    with pytest.raises(InputError, match="is not a function"):
        scored("function", prompt("p"), "a", function=module("NUMBER"))


def test_its_error_names_the_prompt(module):
    with pytest.raises(InputError, match=r"for the prompt 'Say it\.' .* raised KeyError: 'no such key'"):
        scored("function", prompt("Say it."), "a", function=module("broken"))


@pytest.mark.parametrize(
    ("returned", "part"),
    [
        ("[1]", "must return a number or None for each of 2"),
        ("None", "must return a number or None for each of 2"),
        ("3", "must return a number or None for each of 2"),
        ("['good', 1]", "returned 'good', which is neither a number nor None"),
        ("[float('nan'), 1]", "return None for an answer without a score"),
        ("[float('inf'), 1]", "return None for an answer without a score"),
        ("[3, 1]", "returned 3, above signal.max_score"),
    ],
)
def test_wrong_results(tmp_path, returned, part):
    (tmp_path / "wrong.py").write_text(f"def f(prompt, answers):\n    return {returned}\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        scored("function", prompt("p"), "a", "b", function=f"{tmp_path}/wrong.py:f", max_score=2)
    assert part in str(error.value)


def test_numbers_of_numpy(tmp_path):
    source = "import numpy as np\n\ndef f(prompt, answers):\n    return np.array([0.5, 1.0], dtype=np.float32)\n"
    (tmp_path / "arrays.py").write_text(source, encoding="utf-8")
    found = scored("function", prompt("p"), "a", "b", function=f"{tmp_path}/arrays.py:f")
    assert [each.score for each in found] == [0.5, 1.0]
    assert all(type(each.score) is float for each in found)
    assert np.isfinite([each.score for each in found]).all()


def test_its_source_is_an_input_of_the_stage(module, tmp_path):
    before, other = (
        signal_of(build("function", function=module(name))).stage_inputs() for name in ("shorter", "scorer")
    )
    assert before != other
    (tmp_path / "mine.py").write_text(SOURCE + "\n", encoding="utf-8")
    after = signal_of(build("function", function=module("shorter"))).stage_inputs()
    assert {name for name in after if after[name] != before[name]} == {"signal.function's source"}

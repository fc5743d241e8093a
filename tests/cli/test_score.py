"""`srlm score`: a signal's scores of a file of candidates, and the signals that need a model."""

import json

import pytest
from click.testing import CliRunner
from srlm.cli.main import srlm
from srlm.errors import InputError
from srlm.rows.records import Score, read_rows, write_rows

from tests.signals.answers import candidates, prompt

ROW = prompt("How much is 2 + 2?", answer=4)


@pytest.fixture
def files(tmp_path):
    write_rows(tmp_path / "prompts.jsonl", [ROW])
    write_rows(tmp_path / "candidates.jsonl", candidates(ROW, "It is 4.", "5", "4.0", "none"))
    names = ("prompts", "candidates", "out")
    return [word for name in names for word in (f"--{name}", str(tmp_path / f"{name}.jsonl"))]


def run(files, *words):
    return CliRunner().invoke(srlm, ["score", *files, *words], catch_exceptions=False)


def test_scores_of_a_file(files, tmp_path):
    done = run(files, "signal.kind=rules")
    assert (done.exit_code, done.output.split(": ")[-1]) == (0, "4 rows\n")
    assert [row.score for row in read_rows(tmp_path / "out.jsonl", Score)] == [1.0, 0.0, 1.0, 0.0]
    pairs = CliRunner().invoke(
        srlm,
        ["pairs", *files[:4], "--scores", files[5], "--out", str(tmp_path / "pairs.jsonl"), "signal.kind=rules"],
        catch_exceptions=False,
    )
    assert pairs.exit_code == 0
    (row,) = map(json.loads, (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines())
    assert (row["chosen_score"], row["rejected_score"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("kind", "other"), [("judge", "srlm judge"), ("pairwise", "srlm run"), ("implicit", "srlm run")]
)
def test_signals_that_need_a_model_are_refused(files, kind, other, tmp_path):
    with pytest.raises(InputError, match=rf"signal\.kind={kind} needs a model, so it is not used here; use {other}"):
        run(files, f"signal.kind={kind}")
    assert not (tmp_path / "out.jsonl").exists()


def test_generate_refuses_another_supplier(files):
    given = ["generate", "--model", "m", *files[:2], *files[4:], "suppliers.model=base"]
    with pytest.raises(InputError, match=r"samples from --model alone; set suppliers\.model=null"):
        CliRunner().invoke(srlm, given, catch_exceptions=False)

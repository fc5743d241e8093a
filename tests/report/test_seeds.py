"""The summary over seeds as a table and as a page."""

import pytest
from rich.console import Console
from srlm.report.seeds import blocks, seeds_text, summary_table, write_seeds_report


def change(value, low, high, n=40, outcome="better"):
    spread = {"by_seed": {"0": value, "1": value}, "mean": value, "low": value, "high": value, "deviation": None}
    difference = {"value": value, "low": low, "high": high, "n": n}
    return {"difference": difference, "p_value": 0.01, "prompts": n, "spread": spread, "outcome": outcome}


def result(*values, deviation=None):
    by_seed = {str(seed): value for seed, value in enumerate(values)}
    mean = sum(values) / len(values)
    return {"by_seed": by_seed, "mean": mean, "low": min(values), "high": max(values), "deviation": deviation}


def summary(**measures):
    return {
        "seeds": [0, 1, 2],
        "control": "random",
        "trained": {"m1": [0, 1, 2], "m2": [0]},
        "pairs": {"m2": {"run": {"0": 30, "1": 20}, "control": {"0": 30}}},
        "measures": measures,
        "conclusion": "M2 against M0: <better>.",
    }


FOLLOWED = {
    "m0": {"run": {"result": result(0.4)}},
    "m1": {"run": {"result": result(0.4, 0.6), "change": change(-0.0004, -0.1, 0.1, outcome="same")}},
    "m2": {
        "run": {
            "result": result(0.5, 0.6, 0.7, deviation=0.1),
            "change": change(0.2, 0.1, 0.3),
            "change_at_equal_length": change(0.15, 0.05, 0.25, n=17),
        },
        "run_minus_control": change(-0.2, -0.3, -0.1, outcome="worse"),
    },
}


def test_rows_and_cells():
    pairs, followed = blocks(summary(instructions_followed=FOLLOWED))
    assert pairs.rows == [("run, by seed", ["-", "-", "30, 20"]), ("control, by seed", ["-", "-", "30"])]
    assert dict(followed.rows) == {
        "mean": ["40.0%", "50.0%\n40.0% to 60.0%", "60.0%\n50.0% to 70.0%\nsd 10.0"],
        "change from M0": [
            "-",
            "+0.0 points\n(-10.0 to +10.0)\nnot shown",
            "+20.0 points\n(+10.0 to +30.0)\nbetter",
        ],
        "at equal length": ["-", "-", "+15.0 points\n(+5.0 to +25.0)\nn = 17\nbetter"],
        "run minus control": ["-", "-", "-20.0 points\n(-30.0 to -10.0)\nworse"],
    }


def test_what_was_not_measured_has_no_rows():
    assert [block.title for block in blocks(summary())] == ["training pairs"]
    assert blocks(summary() | {"pairs": {}, "trained": {}}) == []


def test_the_table_of_the_terminal(tmp_path):
    console = Console(width=160)
    with console.capture() as capture:
        console.print(summary_table(tmp_path / "run", summary(instructions_followed=FOLLOWED)))
    shown = capture.get()
    assert "seeds 0 to 2" in " ".join(shown.split())
    assert "prompts followed (strict)" in shown
    assert "n = 17" in shown


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_page(tmp_path, elsewhere):
    out = tmp_path / "page.html" if elsewhere else None
    page = write_seeds_report(tmp_path, summary(instructions_followed=FOLLOWED), ["seed-0", "seed-0-control"], out)
    text = page.read_text(encoding="utf-8")
    assert page == (out or tmp_path / "report.html")
    assert "M2 against M0: &lt;better&gt;." in text
    target = (tmp_path / "seed-0/report.html").as_uri() if elsewhere else "seed-0/report.html"
    assert f'<a href="{target}">seed-0</a>' in text
    assert "+20.0 points<br>(+10.0 to +30.0)<br>better" in text


def test_one_seed():
    assert seeds_text({"seeds": [4]}) == "seed 4"

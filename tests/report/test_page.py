"""The report as a file: its content, its content if data is missing, and that it is safe to open."""

import base64
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser

import pytest
import yaml
from srlm.errors import InputError
from srlm.report.collect import read_run
from srlm.report.findings import summary_rows
from srlm.report.page import figures, run_sections, write_report
from srlm.report.render import script_json
from srlm.report.samples import read_samples
from srlm.report.text import duration, format_number, with_interval
from srlm.report.training_charts import downsample
from srlm.rows.records import write_text

from tests.report_run import HOSTILE, change_manifest, make_run, manifest

LONGER = "54.1 % (48.0 to 60.2)"


class Page(HTMLParser):
    """The parts of a page: scripts, visible text, table rows, text alternatives of images, and attribute values."""

    def __init__(self, file):
        super().__init__()
        self.scripts, self.text, self.rows, self.images, self.attributes, self.tags = [], "", [], [], [], []
        self._within = ""
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self._within = tag
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append((values, ""))
        if tag == "tr":
            self.rows.append("")
        if values.get("role") == "img":
            self.images.append((values["data-figure"], values["aria-label"]))

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within == "script":
            self.scripts[-1] = (self.scripts[-1][0], data)
        elif self._within != "style":
            self.text += data
            if self.rows:
                self.rows[-1] += " " + " ".join(data.split())

    def data(self, name):
        return next(json.loads(text) for values, text in self.scripts if values.get("id") == f"data-{name}")

    def row(self, start):
        return next(text for row in self.rows if (text := " ".join(row.split())).startswith(start))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return Page(write_report(make_run(tmp_path_factory.mktemp("run"))))


def test_the_page_is_in_the_run_directory_or_at_the_given_path(tmp_path):
    run = make_run(tmp_path / "run")
    assert write_report(run) == run / "report.html"
    assert write_report(run, tmp_path / "other" / "page.html") == tmp_path / "other" / "page.html"
    assert (tmp_path / "other" / "page.html").read_bytes() == (run / "report.html").read_bytes()
    assert not list(run.glob("*.partial"))


def test_another_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"not a run directory"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("start", "cells"),
    [
        # The manifest's 0.583 with 0.51 to 0.651, and so on.
        (
            "M1 starting point",
            ["58.3 % 51.0 to 65.1", "length baseline: 54.1 % (48.0 to 60.2)", "21.4 % 18.0 to 25.0"],
        ),
        (
            "M2 wins against M1, possibly due to length",
            ["66.7 % 60.4 to 72.8", "120 wins, 20 ties, 55 losses", "51.2 % (44.1 to 58.3)"],
        ),
        ("pairwise accuracy", ["58.3 % (51.0 to 65.1)", "70.2 % (64.0 to 76.0)"]),
        ("Spearman with the human ranking", ["0.21 (-0.05 to 0.47)"]),
        ("score entropy (bits)", ["1.83"]),
        ("prompts skipped (too long to judge)", ["1"]),
        ("2 first checkpoint, not compared", ["- - - not selected"]),
        ("4 60.0 % (45.0 to 75.0)", ["20 8 12 selected"]),
        (
            "M2 against M1 M1 200",
            ["53.4 % (52.0 to 54.9)", "120 / 20 / 55 / 5", "56.0 %", "420 against 310", "10,000", "0.50"],
        ),
        ("length constraints:number words", ["40.0 % (30.0 to 50.0)"]),
        ("prompts dropped", ["4 not novel"]),
        ("prompts with all scores tied", ["85.0 %"]),
        ("mean length (tokens)", ["40"]),
        ("m1/sft", ["104", "2.4 min"]),
        ("m2/verdicts", ["7", "20.0 s", "7,000", "70", "vllm"]),
    ],
)
def test_numbers_are_those_of_the_manifest(page, start, cells):
    row = page.row(start)
    for cell in cells:
        assert cell in row


def test_every_chart_has_a_message_a_table_and_a_figure(page):
    names = [name for name, _ in page.images]
    assert sorted(names) == sorted(page.data("figures"))
    assert len(names) == len(set(names)) == 27
    assert all(len(message) > 20 for _, message in page.images)
    assert page.text.count("Table:") == len(names)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "judge-set-0",
            (
                "Share of pairs in which the judge agrees with the humans: M1 58.3 % (51.0 to 65.1),"
                f" length baseline {LONGER}; M2 70.2 % (64.0 to 76.0), length baseline {LONGER}."
            ),
        ),
        (
            "judge-set-1",
            (
                "Share of pairs in which the judge agrees with the humans: M2 60.0 % (55.0 to 65.0),"
                f" length baseline {LONGER}; human-human agreement 72.0 % (70.0 to 74.0)."
            ),
        ),
        (
            "flow-prompts-2",
            "Prompts for M2: 7 prompts; 3 kept; 4 dropped: not novel; 2 with a pair; 1 no pair: too few scored.",
        ),
        (
            "flow-candidates-2",
            "Candidates for M2: 8 candidates; 7 scored; 1 not scored; 4 in a pair; 1 truncated; 2 not in a pair.",
        ),
        ("candidates-for-M2", "Candidates for M2: 5 scores, mean 2.60; the most frequent is 2 (60.0 %)."),
        ("answer-lengths", "Median answer length in tokens: M1 21, M2 31."),
        (
            "training-2-log-probabilities",
            "Log-probabilities of M2: chosen falls from -105 to -120; rejected falls from -120 to -180.",
        ),
        (
            "training-2-checkpoints",
            (
                "Win rates of M2's checkpoints, each against the checkpoint kept before it: step 2 first checkpoint,"
                " not compared; step 4 60.0 % (45.0 to 75.0). Selected: step 4."
            ),
        ),
        ("time", "The stages took 6.6 min: data generation 60.3 s, training 3.0 min, evaluation 2.7 min."),
    ],
)
def test_messages_of_charts(page, name, message):
    assert dict(page.images)[name] == message


def test_figures_of_charts(page):
    shown = page.data("figures")
    chosen, rejected = shown["training-2-log-probabilities"]["data"]
    assert (chosen["x"], chosen["y"]) == ([1, 2, 3, 4], [-105, -110, -115, -120])
    assert rejected["y"] == [-120, -140, -160, -180]
    assert [shape["x0"] for shape in shown["training-2-loss"]["layout"]["shapes"]] == [2, 4]
    longer, judged = shown["judge-set-0"]["data"]
    assert (longer["y"], judged["y"]) == ([0.541, 0.541], [0.583, 0.702])
    assert judged["error_y"]["arrayminus"] == pytest.approx([0.073, 0.062])
    links = shown["flow-prompts-2"]["data"][0]["link"]
    assert links["value"] == [3, 4, 2, 1]


STAGES = [*manifest(), "m1", "m2"]
FILES = ["manifest.json", *(f"m{t}/{name}.jsonl" for t in (1, 2) for name in ("metrics", "answers")),
         *(f"m2/{name}.jsonl" for name in ("pairs", "verdicts", "candidates"))]  # fmt: skip


def built(path):
    run = read_run(path)
    return run_sections(run, read_samples(run, 10))


@pytest.mark.parametrize("gone", STAGES)
def test_a_stage_may_be_missing(tmp_path, gone):
    def change(found):
        for stage in [stage for stage in found if stage == gone or stage.startswith(f"{gone}/")]:
            del found[stage]

    change_manifest(make_run(tmp_path), change)
    assert len(built(tmp_path)) == 8


@pytest.mark.parametrize("gone", FILES)
def test_a_file_may_be_missing(tmp_path, gone):
    (make_run(tmp_path) / gone).unlink()
    assert len(built(tmp_path)) == 8


def without(entry, index):
    """Return an entry without its field at `index`, and with null in the next field."""
    keys = [key for key in entry if key != "format"]  # always there: other formats are refused
    gone, null = keys[index % len(keys)], keys[(index + 1) % len(keys)]
    return {key: None if key == null else value for key, value in entry.items() if key != gone}


@pytest.mark.parametrize("index", range(max(len(entry) - 1 for entry in manifest().values())))
def test_a_field_may_be_missing_or_null(tmp_path, index):
    make_run(tmp_path)
    changed = {stage: without(entry, index) for stage, entry in manifest().items()}
    write_text(tmp_path / "manifest.json", json.dumps(changed))
    assert len(built(tmp_path)) == 8
    assert len(summary_rows(read_run(tmp_path))) == 2


def test_counts_may_be_missing(tmp_path):
    def change(found):
        metrics = found["m2/pairs"]["data_metrics"]
        metrics["score_histogram"] = {"2": None, "3.5": 2}
        metrics["length_histogram"] = {"edges": [0, 20], "counts": []}
        found["m1/judge_held_out"]["histogram"] = {"2": None}

    change_manifest(make_run(tmp_path), change)
    shown = figures(built(tmp_path))
    assert shown["candidates-for-M2"]["data"][0]["x"] == [3.5]
    assert "candidate-lengths" not in shown
    assert "held-out-answers-by-M1" not in shown
    change_manifest(tmp_path, lambda found: found["m2/pairs"]["data_metrics"]["length_histogram"].update(counts=[None]))
    assert figures(built(tmp_path))["candidate-lengths"]["data"][0]["y"] == [0, 0]


def test_verdicts_are_not_called_answers(tmp_path):
    charts = {chart.id: chart for section in built(make_run(tmp_path)) for chart in section.charts}
    assert charts["candidates-for-M2"].table.columns == ["score", "answers", "share"]
    assert charts["held-out-answers-by-M1"].table.columns == ["score", "verdicts", "share"]


def test_headings_go_down_by_one(page):
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert [pair for pair in itertools.pairwise(levels) if pair[1] > pair[0] + 1] == []


def test_the_prompt_of_a_pair_scrolls_by_keyboard(page):
    assert ("class", "prompt") in page.attributes
    indices = [index for index, attribute in enumerate(page.attributes) if attribute == ("class", "prompt")]
    assert all(page.attributes[index + 1] == ("tabindex", "0") for index in indices)


def test_intervals_of_the_baselines_are_drawn(page):
    shown = page.data("figures")
    longer, judged = shown["judge-set-0"]["data"]
    assert longer["error_y"]["array"] == pytest.approx([0.061, 0.061])
    assert shown["judge-set-0"]["layout"]["scattermode"] == "group"
    (band,) = [shape for shape in shown["judge-set-1"]["layout"]["shapes"] if shape["type"] == "rect"]
    assert (band["y0"], band["y1"]) == (0.7, 0.74)
    assert judged["name"] == "pairwise accuracy"


def test_a_stopped_run_shows_the_data_that_stopped_it(tmp_path):
    def change(found):
        kept.update(found.pop("m2/pairs"), stopped="m2: only 2 pairs")
        del found["m2/dpo"]

    kept = {}
    change_manifest(make_run(tmp_path), change)
    (tmp_path / "m2" / "gates.json").write_text(json.dumps(kept))
    page = Page(write_report(tmp_path))
    assert "m2: only 2 pairs" in page.text
    assert "85.0 %" in page.row("prompts with all scores tied")
    assert page.data("figures")["flow-prompts-2"]
    assert len(page.data("samples")) == 2


def test_an_empty_run_shows_that_nothing_is_measured(tmp_path):
    write_text(tmp_path / "config.yaml", "name: empty\n")
    page = Page(write_report(tmp_path))
    assert "No model has been trained yet." in page.text
    assert page.text.count("Not measured in this run.") == 7
    assert page.data("figures") == {}


def test_an_incomplete_last_line_is_skipped(tmp_path):
    file = make_run(tmp_path) / "m2" / "metrics.jsonl"
    file.write_text(file.read_text() + '{"step": 5, "lo')
    assert len(read_run(tmp_path).models[1].metrics) == 5


@pytest.mark.parametrize(("file", "text"), [("config.yaml", "a: [1"), ("config.yaml", "- a"), ("manifest.json", "{"),
                                            ("manifest.json", "[]"), ("m2/metrics.jsonl", "{\n")])  # fmt: skip
def test_a_broken_file_is_named(tmp_path, file, text):
    (make_run(tmp_path) / file).write_text(text)
    with pytest.raises(InputError, match=re.escape(file)):
        write_report(tmp_path)


def hostile_run(path):
    make_run(path, name=HOSTILE, text=HOSTILE)

    def change(found):
        found["m2/pairs"]["data_metrics"]["gates"][0]["text"] = HOSTILE
        found["m2/judge_held_out"]["flags"] = [HOSTILE]
        found[f"m2/judge_{HOSTILE}"] = found["m2/judge_held_out"]
        found["m2/instructions"]["by_kind"][HOSTILE] = found["m2/instructions"]["prompt_strict"]
        found["m2/pairs"]["drops"][HOSTILE] = 1

    change_manifest(path, change)
    return path


def test_text_of_models_and_users_stays_text(tmp_path):
    page = Page(write_report(hostile_run(tmp_path)))
    # plotly, the two scripts, and two blocks of data: no other script, image or event handler was injected.
    assert len(page.scripts) == 5
    assert not {"img", "iframe", "object", "link", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert HOSTILE in page.text
    assert page.data("samples")[0]["chosen"]["text"] == HOSTILE
    labels = page.data("figures")["flow-prompts-2"]["data"][0]["node"]["label"]
    assert any("&lt;script&gt;" in label for label in labels)
    assert not [label for label in labels if "<" in label]


def test_the_policy_names_the_pages_own_scripts_only(page):
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    run = [text for values, text in page.scripts if "type" not in values]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == [f"'sha256-{digest}'" for digest in hashes]
    assert "connect-src" not in rules


def test_nothing_is_loaded_from_elsewhere(page):
    for name, value in page.attributes:
        assert name not in ("src", "srcset", "poster", "action")
        assert name != "href" or value.startswith("#")


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "\u2028\u2029", "\ud800", "&lt;", "é漢"])
def test_json_in_a_script(text):
    found = script_json({"a": [text]})
    assert found.isascii()
    assert not set("<>&") & set(found)
    assert json.loads(found) == {"a": [text]}


def test_the_same_run_gives_the_same_page(tmp_path):
    run = make_run(tmp_path)
    first = write_report(run, samples=1).read_bytes()
    assert write_report(run, samples=1).read_bytes() == first
    assert " 1 of 2 pairs, sampled at random" in " ".join(Page(run / "report.html").text.split())


def test_a_run_with_positives_only_has_no_pairs(tmp_path):
    make_run(tmp_path)
    settings = yaml.safe_load((tmp_path / "config.yaml").read_text()) | {"train": {"kind": "sft"}}
    write_text(tmp_path / "config.yaml", yaml.safe_dump(settings))
    (tmp_path / "m2" / "pairs.jsonl").unlink()

    def change(found):
        found["m2/pairs"]["drops"] = {"no_perfect_answer": 2, "same_text": 5}

    change_manifest(tmp_path, change)
    page = Page(write_report(tmp_path))
    assert "it trains on positives only" in page.text
    assert page.row("prompts with a perfect answer")
    assert page.row("perfect answers") == "perfect answers 2"
    assert page.row("dropped") == "dropped 2 no perfect answer, 5 same text"
    # Its rows do not name candidates, so their outcomes are unknown.
    assert "flow-candidates-2" not in figures(built(tmp_path))
    flow = figures(built(tmp_path))["flow-prompts-2"]["data"][0]["node"]["label"]
    assert flow == ["generated 7", "kept 3", "not novel 4", "with a perfect answer 1", "no perfect answer 2"]
    # Of three prompts, two have no perfect answer; the five duplicate answers are not prompts.
    assert figures(built(tmp_path))["flow-prompts-2"]["data"][0]["link"]["value"] == [3, 4, 1, 2]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.5834, "percent", "58.3 %"),
        (None, "percent", "not measured"),
        (1234.0, "count", "1,234"),
        (1.5, "number", "1.50"),
        (0.69314, "loss", "0.6931"),
        (119.96, "seconds", "120.0 s"),
        (120, "seconds", "2.0 min"),
        (9000, "seconds", "2.5 h"),
    ],
)
def test_number_formats(value, form, text):
    assert format_number(value, form) == text


def test_an_estimate_of_one_case_has_no_interval():
    from srlm.evaluation.estimates import Estimate

    assert with_interval(Estimate(0.5, None, None, 1)) == "50.0 %"
    assert duration(0) == "0.0 s"


def test_long_curves_are_averaged():
    assert downsample([1.0, 3.0, 5.0, 7.0, 9.0], 3) == [2.0, 6.0, 9.0]
    assert downsample([1.0, 2.0], 3) == [1.0, 2.0]
    assert downsample([], 3) == []

"""`srlm replay`: an unchanged run passes, and every change is reported."""

import json
import random
from dataclasses import replace

import pytest
from click.testing import CliRunner
from srlm import config as configuration
from srlm.cli.main import srlm
from srlm.errors import StageError
from srlm.evaluation import pairwise
from srlm.evaluation.pairwise import comparison
from srlm.models import chat
from srlm.replay import problem_lines, replay
from srlm.rows.records import (
    Candidate,
    DroppedPrompt,
    Example,
    Prompt,
    RankedAnswers,
    Verdict,
    content_id,
    derived_seed,
    read_rows,
    write_rows,
)
from srlm.run import stage_inputs
from srlm.run.run_dir import RunDir
from srlm.run.stage_runner import StageRunner, data_seed
from srlm.workers.tasks import PromptsTask

from tests.scripted import Recorder, ScriptedEngine
from tests.stages.test_pair_selection import made_of

TEXTS = {"one": ["good", "bad", "fair"], "two": ["x", "y"], "three": ["a", "b"]}
REPLIES = {
    "good": "Fine. Score: 5", "bad": "Score: 1", "fair": "no idea",
    "x": "Score: 3", "y": "Score: 3", "a": "Score: 9", "b": "Score: 2",
}  # fmt: skip


def prompt(text):
    return Prompt(content_id("prompt", text), text, "generated", [], 0)


def candidate(asked, index, text, seed):
    name = content_id("candidate", asked.id, index, text)
    sample_seed = derived_seed(seed, "candidate", asked.id, index)
    return Candidate(name, asked.id, index, text, [1, 2], -1.0, "stop", sample_seed)


def verdict(row):
    text = REPLIES[row.text]
    number = float(text[-1]) if text[-1].isdigit() else None
    outcome = "missing" if number is None else "scored" if number <= 5 else "out_of_range"
    score = number if outcome == "scored" else None
    return Verdict(content_id("verdict", row.id, 0, text), row.id, 0, text, outcome, score, None)


@pytest.fixture(params=["dpo", "sft"])
def run(request, tmp_path):
    """A run with data for M2, a model, and M2 compared with M1."""
    config = configuration.build({"model": {"name": "m"}, "iterations": 2, "train": {"kind": request.param}})
    folder = tmp_path / "run"
    stages = StageRunner(config, RunDir.open(folder, config), None, Recorder())

    def done(name, file, **facts):
        stages.plan(name, file, {})
        stages.finish(name, facts)

    seed = data_seed(config, 2)
    prompts = [prompt(text) for text in TEXTS]
    candidates = [candidate(row, n, text, seed) for row in prompts for n, text in enumerate(TEXTS[row.text])]
    verdicts = [verdict(row) for row in candidates]
    settings = {"pairs": config.pairs, "judge": config.judge, "seed": seed, "winners": request.param == "sft"}
    made, drops = made_of(prompts, candidates, verdicts, **settings)
    kind = "positives" if request.param == "sft" else "pairs"
    files = {"prompts": prompts, "candidates": candidates, "verdicts": verdicts, kind: list(made)}
    for name, rows in files.items():
        file = stages.run_dir.file(2, f"{name}.jsonl")
        write_rows(file, rows)
        stage = "m2/pairs" if name == kind else f"m2/{name}"
        done(stage, file, rows=len(rows), **({"drops": drops} if name == kind else {}))
    model = stages.run_dir.model(2)
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}", encoding="utf-8")
    (model / "model.safetensors").write_bytes(b"weights")
    done("m2/dpo", model, rows=len(made))
    for against in BASELINES:
        compare(stages.run_dir, done, against)
    return folder


BASELINES = ("m1", "sft", "m0")


def compare(run_dir, done, against):
    held_out = [prompt("held"), prompt("out")]
    write_rows(run_dir.seed("held_out.jsonl"), held_out)
    answers = []
    for name in ("m2", against):
        rows = [candidate(row, 0, f"{name} {row.text}", 0) for row in held_out]
        write_rows(run_dir.file(name, "answers.jsonl"), rows)
        answers.append(rows)
    words = {("held", "a"): "A", ("held", "b"): "B", ("out", "a"): "A", ("out", "b"): "A"}
    texts = [(row, first, f"Verdict: {words[row.text, first]}") for row in held_out for first in ("a", "b")]
    rows = [comparison(row, first, text, pairwise.parse_verdict(text), None) for row, first, text in texts]
    file = run_dir.file(2, f"vs_{against}.jsonl")
    write_rows(file, rows)
    found = pairwise.head_to_head_result(held_out, tuple(answers), rows)
    counts = {"wins": found.wins, "ties": found.ties, "losses": found.losses, "unparseable": found.unparseable}
    assert counts == {"wins": 1, "ties": 1, "losses": 0, "unparseable": 0}
    done(f"m2/vs_{against}", file, rows=len(rows), **counts)


def training_rows(run):
    return "positives" if (run / "m2" / "positives.jsonl").exists() else "pairs"


def test_an_unchanged_run_passes(run):
    checks = replay(run)
    assert problem_lines(checks) == []
    assert {check.name.partition(":")[0]: check.rows for check in checks if not check.name.endswith("content")} == {
        "m2/prompts.jsonl": 3,
        "m2/candidates.jsonl": 7,
        "m2/verdicts.jsonl": 7,
        f"m2/{training_rows(run)}.jsonl": 1,
        **{f"m2/vs_{against}.jsonl": 4 for against in BASELINES},
    }
    assert sum(check.name.endswith("content") for check in checks) == 8


def change(file, line, **values):
    """Change fields of one row."""
    lines = file.read_text(encoding="utf-8").split("\n")
    lines[line] = json.dumps(json.loads(lines[line]) | values)
    file.write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("prompts", {"text": "uno"}, "is not the id of this text"),
        ("candidates", {"text": "better"}, "is not the id of this text"),
        ("candidates", {"seed": 5}, "5 is not the seed of this answer"),
        ("candidates", {"prompt_id": "nowhere"}, "its prompt nowhere does not exist"),
        ("verdicts", {"score": 4.0}, "its text parses as scored 5"),
        ("verdicts", {"outcome": "missing", "score": None}, "its text parses as scored 5"),
        ("verdicts", {"text": "Score: 4"}, "is not the id of this text"),
        ("verdicts", {"candidate_id": "nowhere"}, "its candidate nowhere does not exist"),
        ("vs_m1", {"verdict": "second"}, "its text parses as first"),
        ("vs_m1", {"text": "Verdict: B"}, "is not the id of this text"),
        ("vs_m0", {"verdict": "second"}, "its text parses as first"),
        ("vs_sft", {"text": "Verdict: B"}, "is not the id of this text"),
    ],
)
def test_a_changed_row(run, name, values, problem):
    change(run / "m2" / f"{name}.jsonl", 0, **values)
    found = [check for check in replay(run) if check.problems]
    assert any(problem in text for check in found for text in check.problems)
    assert any(check.name == f"m2/{name}.jsonl: content" for check in found)


def test_a_pair_that_the_scores_do_not_select(run):
    file = run / "m2" / f"{training_rows(run)}.jsonl"
    [line] = file.read_text(encoding="utf-8").splitlines()
    file.write_text(line.replace("good", "bad"), encoding="utf-8")
    assert any("line 1: the scores select another row here" in problem for problem in problem_lines(replay(run)))
    file.write_text(f"{line}\n{line}\n", encoding="utf-8")
    assert any("2 rows, the scores select 1" in problem for problem in problem_lines(replay(run)))


def test_a_repeated_row_and_a_missing_row(run):
    file = run / "m2" / "candidates.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join([*lines, lines[0]]), encoding="utf-8")
    assert any("appears twice" in problem for problem in problem_lines(replay(run)))
    file.write_text("".join(lines[1:]), encoding="utf-8")
    assert any("its candidate" in problem for problem in problem_lines(replay(run)))


def test_changed_and_missing_weights(run):
    weights = run / "m2" / "model" / "model.safetensors"
    weights.write_bytes(b"Weights")
    assert problem_lines(replay(run)) == [
        f"m2/model: content: {run / 'm2' / 'model'} has changed since m2/dpo finished"
    ]
    weights.unlink()
    (run / "m2" / "model" / "config.json").unlink()
    (run / "m2" / "model").rmdir()
    assert problem_lines(replay(run)) == [f"m2/model: content: {run / 'm2' / 'model'} is missing"]


def test_counts_in_the_manifest(run):
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    manifest["m2/vs_m1"]["wins"] = 2
    manifest["m2/vs_m0"]["ties"] = 0
    manifest["m2/pairs"]["drops"] = {"tied": 7}
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    problems = problem_lines(replay(run))
    assert any("wins: 2 in the manifest, the verdicts give 1" in problem for problem in problems)
    assert any("ties: 0 in the manifest, the verdicts give 1" in problem for problem in problems)
    assert any("prompts without a pair: {'tied': 7} in the manifest" in problem for problem in problems)


def test_only_the_first_few_problems_are_shown(run):
    file = run / "m2" / "candidates.jsonl"
    write_rows(file, [candidate(prompt("one"), n, "good", 1) for n in range(5)])
    lines = [line for line in problem_lines(replay(run)) if line.startswith("m2/candidates.jsonl: ids")]
    assert len(lines) == 4
    assert lines[-1].endswith("and 2 more")


def test_an_unfinished_run_is_checked_up_to_its_last_stage(run):
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    for stage in ("m2/pairs", "m2/dpo", "m2/vs_m1"):
        del manifest[stage]
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert problem_lines(replay(run)) == []


def test_the_command(run):
    shown = CliRunner().invoke(srlm, ["replay", str(run)], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "ok          m2/verdicts.jsonl: ids, scores, 7 rows" in shown.stdout
    change(run / "m2" / "verdicts.jsonl", 0, score=4.0)
    with pytest.raises(StageError, match="its text parses as scored 5"):
        CliRunner().invoke(srlm, ["replay", str(run)], catch_exceptions=False)
    assert read_rows(run / "m2" / "verdicts.jsonl", Verdict)[0].score == 4.0  # the file is unchanged


def test_an_unreadable_file_does_not_prevent_other_checks(run):
    (run / "m2" / "verdicts.jsonl").write_text("{", encoding="utf-8")
    checks = replay(run)
    assert any("verdicts.jsonl, line 1: not valid JSON" in problem for check in checks for problem in check.problems)
    assert any(check.name.startswith("m2/vs_m1") and not check.problems for check in checks)


def test_an_entry_without_a_hash_is_shown_as_not_checked(run):
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    del manifest["m2/dpo"]["sha256"]
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    shown = CliRunner().invoke(srlm, ["replay", str(run)], catch_exceptions=False)
    assert "not checked m2/dpo: content" in shown.stdout


# --- novelty ----------------------------------------------------------------------------------------------------------

SEEDS = [
    Example(f"e{n}", chat.user(f"Tell me about {word} in two lines"), chat.assistant("no"))
    for n, word in enumerate(TEXTS)
]
HELD_OUT = RankedAnswers("r", "Which five cities lie on the Danube", ["a", "b"], [5.0, 1.0], ["", ""])


@pytest.fixture
def prompted(tmp_path, tiny_tokenizer):
    """A run with prompts for M2 and M3; of every three, one is like a held-out prompt, a seed, or a prompt of M2."""
    config = configuration.build({"model": {"name": "m"}, "iterations": 3, "prompts": {"count": 4, "round_size": 6}})
    stages = StageRunner(config, RunDir.open(tmp_path / "run", config), None, Recorder())
    run_dir = stages.run_dir

    def finish(name, file):
        stages.plan(name, file, {})
        stages.finish(name, {"rows": len(file.read_text().splitlines())})

    for name, rows in {"ift": SEEDS, "eft_ranked": [], "eft_valid": [HELD_OUT]}.items():
        write_rows(run_dir.seed(f"{name}.jsonl"), rows)
        finish(f"seed/{name}", run_dir.seed(f"{name}.jsonl"))
    near = [HELD_OUT.prompt, f"{SEEDS[0].prompt[0]['content']}, please"]
    for t in (2, 3):

        def reply(request, t=t):
            number = int(request.key)
            words = random.Random(f"{t} {number}")
            fresh = " ".join("".join(words.choices("abcdefgh", k=5)) for _ in range(6))
            return fresh if number % 3 else near[number // 3]

        files = [run_dir.file(t, f"{name}.jsonl") for name in ("prompts", "prompts_dropped", "candidates", "verdicts")]
        known = tuple(stage_inputs.known_prompts(config, run_dir, t).values())
        task = PromptsTask(f"m{t}/prompts", run_dir.seed("ift.jsonl"), *files[:2], known)
        task.run(ScriptedEngine(tiny_tokenizer, reply), config, data_seed(config, t), Recorder())
        for name, file in zip(("candidates", "verdicts"), files[2:], strict=True):
            write_rows(file, [])
            finish(f"m{t}/{name}", file)
        finish(f"m{t}/prompts", files[0])
        near[0] = read_rows(files[0], Prompt)[0].text.upper()
    return tmp_path / "run"


def novelty(run):
    return {check.name: check for check in replay(run) if check.name.endswith("novelty")}


def test_dropped_prompts_are_the_similar_ones(prompted):
    dropped = {t: read_rows(prompted / f"m{t}" / "prompts_dropped.jsonl", DroppedPrompt) for t in (2, 3)}
    assert [row.reason for row in dropped[2]] == ["not_novel_held_out", "not_novel"]
    assert [row.reason for row in dropped[3]] == ["not_novel_earlier", "not_novel"]
    checks = novelty(prompted)
    assert [check.rows for check in checks.values()] == [6, 6]
    assert problem_lines(replay(prompted)) == []


@pytest.mark.parametrize(
    ("file", "line", "values", "problem"),
    [
        ("m2/prompts_dropped", 0, {"reason": "not_novel"}, "recorded as not_novel (similarity 1.0 to "),
        ("m2/prompts_dropped", 1, {"similarity": 0.75}, "recorded as not_novel (similarity 0.75 to "),
        ("m2/prompts_dropped", 1, {"similar_to": "other"}, "its text is not_novel (similarity "),
        ("m2/prompts_dropped", 1, {"text": "Something quite new"}, "its text is novel"),
        ("m2/prompts", 3, {"text": HELD_OUT.prompt.upper()}, "recorded as novel, its text is not_novel_held_out"),
        ("m3/prompts", 0, {"text": SEEDS[1].prompt[0]["content"]}, "recorded as novel, its text is not_novel (sim"),
    ],
)
def test_a_prompt_that_is_dropped_or_kept_wrongly(prompted, file, line, values, problem):
    change(prompted / f"{file}.jsonl", line, **values)
    found = [text for check in novelty(prompted).values() for text in check.problems]
    assert any(problem in text for text in found), found


def test_a_prompt_of_an_earlier_iteration_is_not_novel(prompted):
    earlier = read_rows(prompted / "m2" / "prompts.jsonl", Prompt)[1]
    change(prompted / "m3" / "prompts.jsonl", 0, text=f"{earlier.text}, please")
    [text] = novelty(prompted)["m3/prompts.jsonl: novelty"].problems
    assert text.endswith(f" to {earlier.id})")
    assert "its text is not_novel_earlier (similarity 0.92" in text


# --- answers that M_t did not sample ----------------------------------------------------------------------------------


@pytest.fixture
def supplied(tmp_path):
    """A run in which another model (two answers) and a human also answer; the model gave one answer to "short"."""
    values = {"prompts": {"source": "files", "files": ["p.jsonl"]}, "candidates": {"per_prompt": 1}}
    others = {"model": "base", "model_per_prompt": 2, "human": True}
    config = configuration.build({"model": {"name": "m"}, "iterations": 2, **values, "suppliers": others})
    folder = tmp_path / "run"
    stages = StageRunner(config, RunDir.open(folder, config), None, Recorder())
    seed = data_seed(config, 2)
    prompts = [replace(prompt(text), columns={"response": "x"}) for text in ("long", "short")]
    given = [candidate(row, n, text, 0) for row in prompts for n, text in enumerate(("bad", "fair"))][:3]
    rows = [candidate(row, 0, "good", seed) for row in prompts]
    for row in given:
        index = 1 + row.index
        name = content_id("candidate", row.prompt_id, index, row.text)
        rows.append(replace(row, id=name, index=index, source="model"))
    rows += [replace(candidate(row, 3, "x", 0), source="human") for row in prompts]
    files = {"prompts": prompts, "supplied": given, "candidates": rows, "verdicts": [verdict(row) for row in rows]}
    for name, content in files.items():
        file = stages.run_dir.file(2, f"{name}.jsonl")
        write_rows(file, content)
        stages.plan(f"m2/{name}", file, {})
        stages.finish(f"m2/{name}", {"rows": len(content)})
    return folder


def by_source(run):
    names = {f"m2/candidates.jsonl: source {source}": source for source in ("model", "human")}
    return {names[check.name]: (check.rows, check.problems) for check in replay(run) if check.name in names}


def test_answers_of_others_are_those_of_their_source(supplied):
    assert by_source(supplied) == {"model": (3, []), "human": (2, [])}


@pytest.mark.parametrize(("line", "source", "where"), [(2, "model", "supplied.jsonl"), (5, "human", "the prompts")])
def test_an_answer_that_its_source_did_not_give(supplied, line, source, where):
    file = supplied / "m2" / "candidates.jsonl"
    row = read_rows(file, Candidate)[line]
    assert row.source == source
    change(file, line, text="edited", id=content_id("candidate", row.prompt_id, row.index, "edited"))
    (_, problems), rest = by_source(supplied)[source], by_source(supplied)
    assert problems == [
        f"line {line + 1}: {where} has no such response",
        f"1 responses of {where} are not among the candidates",
    ]
    del rest[source]
    assert all(found == [] for _, found in rest.values())

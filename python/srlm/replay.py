"""Audit a run without a model: `srlm replay RUN_DIR`.

Texts cannot be regenerated here, but everything derived from them can be recomputed: ids are hashes of content, similar
prompts are dropped, scores are parsed from texts, pairs are selected by scores, wins are counted from verdicts. A row
that was edited, lost, mixed up or written by other code differs from the recomputed one.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from srlm.errors import InputError
from srlm.evaluation import pairwise
from srlm.judge_data.registry import judge_data_of
from srlm.judge_data.stage_names import JUDGEMENT_PAIRS
from srlm.models.registry import weights_hash
from srlm.rows.ids import IdIndex
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import (
    Candidate,
    CandidateComparison,
    Comparison,
    DroppedPrompt,
    Example,
    ModelLogprob,
    Pair,
    Prompt,
    Score,
    Verdict,
    content_id,
    derived_seed,
    file_hash,
    read_rows,
)
from srlm.run import stage_inputs
from srlm.run.run_dir import RunDir, read_config
from srlm.run.stage_runner import data_seed
from srlm.signals.per_prompt import PerPromptSignal
from srlm.signals.registry import signal_of
from srlm.signals.stage_names import COMPARISONS, LOGPROBS
from srlm.stages import pairs, supplied_answers, suppliers
from srlm.stages.judge import parse_reply
from srlm.stages.novelty import REASONS, Novelty, read_known
from srlm.stages.score_table import read_answers
from srlm.stages.seed import seed_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.rows.records import Source

Row = TypeVar("Row")
MAX_PROBLEMS = 3  # shown per check


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked of a file, in how many rows, and the problems found."""

    name: str
    rows: int
    problems: list[str]
    checked: bool = True  # False if the manifest has no hash to compare with


def replay(path: Path) -> list[Check]:
    """Check a run, finished or not; stages that are not done are skipped.

    Raises:
        InputError: `path` is not a run directory, or its manifest cannot be read.
    """
    config, run = read_config(path), RunDir(path)
    checks = [*_files(run)]
    for t in range(2, config.iterations + 1):
        if run.entry(f"m{t}/{signal_of(config.at(t)).stage}") is not None:
            checks += _readable(f"m{t}", partial(_iteration, config, run, t))
    for stage in run.stages():
        if stage.partition("/")[2].startswith("vs_"):
            checks += _readable(stage, partial(_comparison, config, run, stage))
    return checks


def _readable(name: str, check: Callable[[], list[Check]]) -> list[Check]:
    """Run a check; a file that cannot be read is a problem."""
    try:
        return check()
    except InputError as error:
        return [Check(f"{name}: rows", 0, [str(error)])]


def _files(run: RunDir) -> Iterable[Check]:
    """Check that every file has the content that its stage left."""
    for stage in run.stages():
        entry = run.entry(stage) or {}
        if "sha256" not in entry:
            yield Check(f"{stage}: content", 0, [], checked=False)
        for name, digest in (entry.get("sha256") or {}).items():
            file = run.path / name
            if not file.exists():
                yield Check(f"{name}: content", 0, [f"{file} is missing"])
                continue
            found = weights_hash(str(file)) if file.is_dir() else file_hash(file)
            wrong = [] if found == digest else [f"{file} has changed since {stage} finished"]
            yield Check(f"{name}: content", entry.get("rows", 0), wrong)


def _iteration(config: Config, run: RunDir, t: int) -> list[Check]:
    """Check the rows of M_t's data: prompts, candidates, scores, pairs.

    Of candidates and scores only ids are held in memory.
    """
    prompts = RowFile(run.file(t, "prompts.jsonl"), Prompt)
    candidates = RowFile(run.file(t, "candidates.jsonl"), Candidate)
    prompt_ids, candidate_ids = (IdIndex.of(row.id for row in rows) for rows in (prompts, candidates))
    checks = [
        _rows(f"m{t}/prompts.jsonl: ids", prompts, lambda row: row.id, _prompt_problem),
        _rows(
            f"m{t}/candidates.jsonl: ids",
            candidates,
            lambda row: (row.prompt_id, row.index),
            _candidate_problem(prompt_ids, data_seed(config, t)),
        ),
        *_supplied(config, run, t, prompts, candidates),
        _scores(config, run, t, prompts, candidates, candidate_ids),
    ]
    if run.entry("seed/ift") is not None:
        checks.append(_novelty(config, run, t))
    if run.entry(f"m{t}/pairs") is not None:
        checks.append(_pairs(config, run, t, prompts, candidates))
    return [*checks, *_judge_data(config, run, t)]


def _supplied(
    config: Config, run: RunDir, t: int, prompts: Sequence[Prompt], candidates: Sequence[Candidate]
) -> Iterable[Check]:
    """Check that the candidates that M_t did not sample are those of their source, each once."""
    config, file = config.at(t), run.file(t, "supplied.jsonl")
    slots = suppliers.slots(config.candidates, config.suppliers)
    sources: list[tuple[Source, int, Iterable[str], str]] = [
        ("model", slots.model, supplied_answers.model_ids(RowFile(file, Candidate), slots), file.name),
        ("human", slots.human, supplied_answers.human_ids(prompts, slots), "the prompts"),
    ]
    for source, expected, ids, where in sources:
        if expected:
            known, found = IdIndex.of(ids), IdIndex.of(row.id for row in candidates if row.source == source)
            problems = [
                f"line {line}: {where} has no such response"
                for line, row in enumerate(candidates, 1)
                if row.source == source and row.id not in known
            ]
            missing = int((~np.isin(known.numbers, found.numbers)).sum())
            problems += [f"{missing} responses of {where} are not among the candidates"] if missing else []
            yield Check(f"m{t}/candidates.jsonl: source {source}", len(found), problems)


def _judge_data(config: Config, run: RunDir, t: int) -> Iterable[Check]:
    """Check the rows of judge data, and that the pairs of judgements are those that they give."""
    kind, file = judge_data_of(config, t), run.file(t, f"{JUDGEMENT_PAIRS}.jsonl")
    entry = run.entry(f"m{t}/{JUDGEMENT_PAIRS}")
    if kind is None or entry is None:
        return
    for check in kind.row_checks(file.parent):
        yield _rows(f"m{t}/{check.stage}.jsonl: {check.what}", check.rows, check.key, check.problem)
    kept, found = read_rows(file, Pair), kind.build(file.parent, data_seed(config, t))
    problems = [
        f"line {number}: the judgements give another pair here"
        for number, (one, other) in enumerate(zip(kept, found.rows, strict=False), 1)
        if one != other
    ]
    if len(kept) != len(found.rows):
        problems.append(f"{len(kept)} rows, the judgements give {len(found.rows)}")
    problems += [
        f"{name}: {entry.get(name)} in the manifest, the judgements give {value}"
        for name, value in found.counts().items()
        if entry.get(name) != value
    ]
    yield Check(f"m{t}/{file.name}: derived again", len(kept), problems)


def _scores(
    config: Config,
    run: RunDir,
    t: int,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    candidate_ids: IdIndex,
) -> Check:
    """Check the judge's verdicts against their texts, or derive the scores of another signal again."""
    signal = signal_of(config.at(t))
    file = run.file(t, f"{signal.stage}.jsonl")
    if signal.stage == LOGPROBS:
        read, known = RowFile(file, ModelLogprob), _logprob_problem(candidate_ids)
        return _rows(f"m{t}/{file.name}: candidates", read, lambda row: (row.model, row.candidate_id), known)
    if signal.stage == COMPARISONS:
        compared, parsed = RowFile(file, CandidateComparison), _candidates_problem(candidate_ids)
        return _rows(f"m{t}/{file.name}: ids, verdicts", compared, lambda row: (row.first_id, row.second_id), parsed)
    if not isinstance(signal, PerPromptSignal):
        verdicts, problem = RowFile(file, Verdict), _verdict_problem(config, candidate_ids)
        return _rows(f"m{t}/{file.name}: ids, scores", verdicts, lambda row: (row.candidate_id, row.sample), problem)
    found = {row.candidate_id: row for row in RowFile(file, Score)}
    problems, count = [], 0
    for rows in signal.score_rows(prompts, candidates, data_seed(config, t)):
        for row in rows:
            count += 1
            if found.get(row.candidate_id) != row:
                problems.append(f"candidate {row.candidate_id}: recorded {found.get(row.candidate_id)}, found {row}")
    if len(found) != count:
        problems.append(f"{len(found)} rows for {count} candidates")
    return Check(f"m{t}/{file.name}: derived again", len(found), problems)


def _rows(
    name: str, rows: Sequence[Row], key: Callable[[Row], Hashable], problem: Callable[[Row], str | None]
) -> Check:
    """Check each row by itself, and that no key appears twice."""
    problems, hashes = [], array("q")
    for number, row in enumerate(rows, 1):
        hashes.append(hash(key(row)))
        if (text := problem(row)) is not None:
            problems.append(f"line {number}: {text}")
    return Check(name, len(hashes), problems + [f"{found} appears twice" for found in _repeated(rows, key, hashes)])


def _repeated(rows: Iterable[Row], key: Callable[[Row], Hashable], hashes: array[int]) -> list[Hashable]:
    """Return the keys that appear more than once; only keys with repeated hashes are compared."""
    values, counts = np.unique(np.array(hashes, dtype=np.int64), return_counts=True)
    repeated = set(values[counts > 1].tolist())
    found = Counter(key(row) for row in rows if hash(key(row)) in repeated) if repeated else {}
    return [key for key, count in found.items() if count > 1]


def _prompt_problem(row: Prompt) -> str | None:
    return None if row.id == content_id("prompt", row.text) else f"{row.id} is not the id of this text"


def _candidate_problem(prompts: IdIndex, seed: int) -> Callable[[Candidate], str | None]:
    def problem(row: Candidate) -> str | None:
        if row.prompt_id not in prompts:
            return f"its prompt {row.prompt_id} does not exist"
        if row.id != content_id("candidate", row.prompt_id, row.index, row.text):
            return f"{row.id} is not the id of this text"
        if row.source in ("own", "hot") and row.seed != derived_seed(seed, "candidate", row.prompt_id, row.index):
            return f"{row.seed} is not the seed of this answer"
        return None

    return problem


def _verdict_problem(config: Config, candidates: IdIndex) -> Callable[[Verdict], str | None]:
    """Return a check that scores are those parsed from the texts."""
    judge = config.judge

    def problem(row: Verdict) -> str | None:
        if row.candidate_id not in candidates:
            return f"its candidate {row.candidate_id} does not exist"
        if row.id != content_id("verdict", row.candidate_id, row.sample, row.text):
            return f"{row.id} is not the id of this text"
        outcome, score, _ = parse_reply(row.text, row.finish_reason, judge)
        if (row.outcome, row.score) != (outcome, score):
            return f"its text parses as {outcome}{'' if score is None else f' {score:g}'}"
        return None

    return problem


def _logprob_problem(candidates: IdIndex) -> Callable[[ModelLogprob], str | None]:
    return lambda row: None if row.candidate_id in candidates else f"its candidate {row.candidate_id} does not exist"


def _candidates_problem(candidates: IdIndex) -> Callable[[CandidateComparison], str | None]:
    """Return a check that verdicts are those of the texts."""

    def problem(row: CandidateComparison) -> str | None:
        if lost := [name for name in (row.first_id, row.second_id) if name not in candidates]:
            return f"its candidate {lost[0]} does not exist"
        if row.id != content_id("comparison", row.first_id, row.second_id, row.text):
            return f"{row.id} is not the id of this text"
        verdict = pairwise.parse_verdict(row.text)
        return None if verdict == row.verdict else f"its text parses as {verdict}"

    return problem


def _novelty(config: Config, run: RunDir, t: int) -> Check:
    """Check that exactly the prompts were dropped as not novel that are too similar to a known or an earlier one."""
    seeds = seed_prompts(read_rows(run.seed("ift.jsonl"), Example))
    known = read_known(stage_inputs.known_prompts(config, run, t).values())
    kept, file = read_rows(run.file(t, "prompts.jsonl"), Prompt), run.file(t, "prompts_dropped.jsonl")
    dropped = read_rows(file, DroppedPrompt) if file.exists() else []
    given, written = ([row for row in kept if (row.source == "file") is own] for own in (True, False))
    rows: list[Prompt | DroppedPrompt] = [*written, *(row for row in dropped if row.reason in REASONS)]
    novelty, problems = Novelty(seeds, known, given, config.prompts), []
    for row in sorted(rows, key=lambda row: row.attempt):
        recorded = (row.reason, row.similarity, row.similar_to) if isinstance(row, DroppedPrompt) else None
        found = novelty.add(Prompt(row.id, row.text, "generated", [], row.attempt))
        if found != recorded:
            problems.append(f"attempt {row.attempt}: recorded as {_near(recorded)}, its text is {_near(found)}")
    return Check(f"m{t}/prompts.jsonl: novelty", len(rows), problems)


def _near(found: tuple[str, float | None, str | None] | None) -> str:
    return "novel" if found is None else f"{found[0]} (similarity {found[1]} to {found[2]})"


def _pairs(config: Config, run: RunDir, t: int, prompts: Sequence[Prompt], candidates: Sequence[Candidate]) -> Check:
    """Check that pairs (or winners) and dropped prompts are those that the scores select."""
    config, by_sft = config.at(t), config.train.kind == "sft"
    kind: type[Pair | Example] = Example if by_sft else Pair
    signal = signal_of(config)
    name = f"m{t}/{'positives' if kind is Example else 'pairs'}.jsonl"
    kept = RowFile(run.path / name, kind)
    try:
        answers = read_answers(prompts, candidates)
        scores = signal.read(answers, run.file(t, f"{signal.stage}.jsonl"))
        selected = pairs.select(answers, scores, pairs=config.pairs, winners=by_sft, seed=data_seed(config, t))
    except InputError as error:  # a row without its prompt or candidate: nothing can be selected
        return Check(f"{name}: selected by the scores", len(kept), [str(error)])
    problems = [
        f"line {number}: the scores select another row here"
        for number, (one, other) in enumerate(zip(kept, selected.rows(prompts, candidates), strict=False), 1)
        if one != other
    ]
    if len(kept) != len(selected):
        problems.append(f"{len(kept)} rows, the scores select {len(selected)}")
    recorded = (run.entry(f"m{t}/pairs") or {}).get("drops")
    if recorded != selected.drops:
        problems.append(f"prompts without a pair: {recorded} in the manifest, the scores give {selected.drops}")
    return Check(f"{name}: selected by the scores", len(kept), problems)


def _comparison(config: Config, run: RunDir, stage: str) -> list[Check]:
    """Check that wins, ties and losses are those of the verdicts, and that verdicts are those of the judge's texts."""
    model, _, match = stage.partition("/")
    other = match.removeprefix("vs_")
    answers = tuple(read_rows(run.path / name / "answers.jsonl", Candidate) for name in (model, other))
    both = {row.prompt_id for row in answers[0]} & {row.prompt_id for row in answers[1]}
    prompts = [row for row in read_rows(run.seed("held_out.jsonl"), Prompt) if row.id in both]
    rows = read_rows(run.path / model / f"{match}.jsonl", Comparison)
    found = asdict(pairwise.head_to_head_result(prompts, (answers[0], answers[1]), rows))
    entry = run.entry(stage) or {}
    problems = [
        f"{key}: {entry[key]} in the manifest, the verdicts give {found[key]}"
        for key in ("wins", "ties", "losses", "unparseable")
        if entry.get(key) != found[key]
    ]
    checked = _rows(f"{stage}: ids", rows, lambda row: (row.prompt_id, row.first), _comparison_problem(config))
    return [Check(f"{stage}.jsonl: ids, verdicts, counts", len(rows), checked.problems + problems)]


def _comparison_problem(config: Config) -> Callable[[Comparison], str | None]:
    has_texts = config.head_to_head.by == "pairwise"

    def problem(row: Comparison) -> str | None:
        if row.id != content_id("comparison", row.prompt_id, row.first, row.text):
            return f"{row.id} is not the id of this text"
        if not has_texts or row.text == pairwise.IDENTICAL:
            return None
        verdict = pairwise.parse_verdict(row.text)
        return None if verdict == row.verdict else f"its text parses as {verdict}"

    return problem


def problem_lines(checks: Iterable[Check]) -> list[str]:
    """Return the first few problems of each check, one per line."""
    lines: list[str] = []
    for check in checks:
        lines += [f"{check.name}: {problem}" for problem in check.problems[:MAX_PROBLEMS]]
        if len(check.problems) > MAX_PROBLEMS:
            lines.append(f"{check.name}: and {len(check.problems) - MAX_PROBLEMS} more")
    return lines

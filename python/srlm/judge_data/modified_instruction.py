"""`judge_data.kind: modified_instruction`: an answer to another instruction is known to be the worse one.

M_t writes a modified instruction for each prompt and answers it; as an answer to the original prompt, this is worse
than M_t's own answer to that prompt (Self-Taught Evaluators, Wang et al. 2024, arXiv 2408.02666). M_t judges both
answers several times. A judgement of one answer agrees with the known order as often as its score is on the right side
of the scores in the judgements of the other answer. For each answer, a judgement that agrees with more than half of
them is preferred to one that agrees with less than half.

The paper's judge compares two answers, in both orders, and is trained by SFT on one of its right judgements; here it
scores one answer, and learns from pairs of a right and a wrong judgement, as many of better as of worse answers, so
that scores as such become neither higher nor lower. There one reply holds the modified instruction and its answer; here
the instruction is asked for first, and answered like every prompt.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from srlm.judge_data.base import DataStage, RowCheck
from srlm.judge_data.judgements import sample
from srlm.judge_data.preferences import Preference, judge_pairs, limited
from srlm.judge_data.scored_verdicts import ScoredVerdicts
from srlm.judge_data.stage_names import MODIFIED_ANSWERS, MODIFIED_PROMPTS, MODIFIED_VERDICTS
from srlm.progress import count_lines
from srlm.rows.ids import IdIndex
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import (
    Candidate,
    ModifiedPrompt,
    Prompt,
    RowWriter,
    Verdict,
    content_id,
    derived_seed,
    iter_rows,
)
from srlm.rows.resume import resume_iter
from srlm.run import stage_inputs
from srlm.run.cache_keys import key_inputs
from srlm.stages.judge import judge_answers, parse_reply
from srlm.stages.judge_items import JudgeItem
from srlm.stages.judge_prompt import block_names, fill_fields, prompt_escaper
from srlm.stages.score_table import read_answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.judge_data.preferences import JudgePairs
    from srlm.native import TurnMarks
    from srlm.reporter import Reporter
    from srlm.rows.records import FinishReason
    from srlm.workers.tasks import Result

FIELD = "{prompt}"
Dropped = Literal["empty", "cut_off", "same"]


class ModifiedInstruction:
    """See `JudgeData`."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def stages(self, t: int, folder: Path, policy: str) -> list[DataStage]:
        """See `JudgeData.stages`."""
        config, rows = self._config, f"m{t}/{MODIFIED_PROMPTS}"
        sampling = ("prompts.temperature", "prompts.top_p", "prompts.max_tokens")
        settings = ("judge_data.kind", "judge_data.max_prompts", "pairs.keep_truncated")
        modifying = key_inputs(config, "engine", *settings, *sampling) | {"modify prompt": read_modify_template()}
        judging = stage_inputs.held_out_verdicts(config) | key_inputs(config, "judge_data.samples")
        files = {name: folder / f"{name}.jsonl" for name in (MODIFIED_PROMPTS, MODIFIED_ANSWERS, MODIFIED_VERDICTS)}
        answering = stage_inputs.held_out_answers(config)
        unused = ("judge.samples", "judge.score")
        judging = {name: value for name, value in judging.items() if name not in unused}
        answers, verdicts = f"m{t}/{MODIFIED_ANSWERS}", f"m{t}/{MODIFIED_VERDICTS}"
        return [
            DataStage(ModifyPrompts(rows, folder, files[MODIFIED_PROMPTS]), modifying, (f"m{t}/candidates", policy)),
            DataStage(AnswerModified(answers, folder, files[MODIFIED_ANSWERS]), answering, (rows, policy)),
            DataStage(JudgeBoth(verdicts, folder, files[MODIFIED_VERDICTS]), judging, (answers, policy)),
        ]

    def pairs_inputs(self) -> dict[str, Any]:
        """See `JudgeData.pairs_inputs`."""
        return key_inputs(self._config, "judge_data.kind", "judge_data.max_judgement_length", "judge_data.max_share")

    def build(self, folder: Path, seed: int) -> JudgePairs:
        """See `JudgeData.build`."""
        verdicts = ScoredVerdicts(folder / f"{MODIFIED_VERDICTS}.jsonl")
        better: list[Preference] = []
        worse: list[Preference] = []
        undecided = prompts = 0
        for both in read_both(folder, self._config, seed):
            prompts += 1
            judged = verdicts.of(both.good.id), verdicts.of(both.bad.id)
            found = preferences(both, judged, seed)
            better += [row for row in found if row.answer == both.good.text]
            worse += [row for row in found if row.answer != both.good.text]
            undecided += 2 - len(found)
        config = self._config
        (kept_better, one), (kept_worse, other) = (limited(rows, config, seed) for rows in (better, worse))
        count = min(len(kept_better), len(kept_worse))
        kept = [*balanced(kept_better, count, seed), *balanced(kept_worse, count, seed)]
        dropped = {name: one[name] + other[name] for name in one}
        unbalanced = len(kept_better) + len(kept_worse) - len(kept)
        drops = {"undecided": undecided, **dropped, "unbalanced": unbalanced}
        facts = {"prompts": prompts, "better": len(better), "worse": len(worse)}
        return judge_pairs(sorted(kept, key=lambda row: row.prompt.id), config, drops, **facts)

    def row_checks(self, folder: Path) -> list[RowCheck]:
        """See `JudgeData.row_checks`."""
        texts = {row.id: row.text for row in iter_rows(folder / "prompts.jsonl", Prompt)}
        modified, answers, verdicts = (
            folder / f"{name}.jsonl" for name in (MODIFIED_PROMPTS, MODIFIED_ANSWERS, MODIFIED_VERDICTS)
        )
        known = IdIndex.of(row.id for row in iter_rows(modified, ModifiedPrompt) if row.dropped is None)
        given = [iter_rows(file, Candidate) for file in (folder / "candidates.jsonl", answers)]
        judged = IdIndex.of(row.id for rows in given for row in rows)

        def modified_problem(row: ModifiedPrompt) -> str | None:
            if row.prompt_id not in texts:
                return f"its prompt {row.prompt_id} does not exist"
            if row.id != content_id("modified prompt", row.prompt_id, row.text):
                return f"{row.id} is not the id of this text"
            found = why_dropped(row.text, texts[row.prompt_id], row.finish_reason)
            return None if row.dropped == found else f"it is {found or 'not to be dropped'}, not {row.dropped}"

        def answer_problem(row: Candidate) -> str | None:
            if row.prompt_id not in known:
                return f"its prompt {row.prompt_id} does not exist"
            expected = content_id("candidate", row.prompt_id, row.index, row.text)
            return None if row.id == expected else f"{row.id} is not the id of this text"

        def verdict_problem(row: Verdict) -> str | None:
            if row.candidate_id not in judged:
                return f"its candidate {row.candidate_id} does not exist"
            if row.id != content_id("verdict", row.candidate_id, row.sample, row.text):
                return f"{row.id} is not the id of this text"
            outcome, score, _ = parse_reply(row.text, row.finish_reason, self._config.judge)
            return None if (row.outcome, row.score) == (outcome, score) else f"its text parses as {outcome} {score}"

        return [
            RowCheck(
                MODIFIED_PROMPTS, "ids", RowFile(modified, ModifiedPrompt), lambda row: row.prompt_id, modified_problem
            ),
            RowCheck(MODIFIED_ANSWERS, "ids", RowFile(answers, Candidate), lambda row: row.prompt_id, answer_problem),
            RowCheck(
                MODIFIED_VERDICTS,
                "ids, scores",
                RowFile(verdicts, Verdict),
                lambda row: (row.candidate_id, row.sample),
                verdict_problem,
            ),
        ]


# --- pairs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Both:
    """A prompt, M_t's answer to it, and its answer to the modified prompt."""

    prompt: Prompt
    good: Candidate
    bad: Candidate


def preferences(both: Both, judged: tuple[Sequence[Verdict], Sequence[Verdict]], seed: int) -> list[Preference]:
    """Return a preference for the better and one for the worse answer, of which either may be missing.

    `judged` are the judgements of both. Which of several right or wrong judgements are taken is random: the most
    extreme ones would teach extreme scores.
    """
    scores = [np.array([row.score for row in rows], dtype=np.float64) for rows in judged]
    if not len(scores[0]) or not len(scores[1]):
        return []
    right = scores[0][:, None] > scores[1][None, :]  # [G, B]
    found = []
    for answer, rows, agreement in (
        (both.good, judged[0], right.mean(axis=1)),
        (both.bad, judged[1], right.mean(axis=0)),
    ):
        chance = random.Random(derived_seed(seed, "judgement pair", answer.id))
        good = [index for index, value in enumerate(agreement) if value > 0.5]
        bad = [index for index, value in enumerate(agreement) if value < 0.5]
        if good and bad:
            one, other = chance.choice(good), chance.choice(bad)
            values = float(agreement[one]), float(agreement[other])
            found.append(Preference(both.prompt, answer.text, rows[one], rows[other], values))
    return found


def balanced(rows: Sequence[Preference], count: int, seed: int) -> list[Preference]:
    """Return `count` of the preferences, sampled, in their order."""
    return [rows[index] for index in sample(len(rows), count, seed)] if count else []


def read_both(folder: Path, config: Config, seed: int) -> Iterator[Both]:
    """Yield the prompts that have both answers, and different ones, in the order of the prompts."""
    answers = RowFile(folder / f"{MODIFIED_ANSWERS}.jsonl", Candidate)
    modified = {
        row.prompt_id: row.id
        for row in iter_rows(folder / f"{MODIFIED_PROMPTS}.jsonl", ModifiedPrompt)
        if row.dropped is None
    }
    at = IdIndex.of(row.prompt_id for row in answers)
    for prompt, good in first_answers(folder, config, seed):
        index = at.index(modified[prompt.id]) if prompt.id in modified else None
        if index is None:
            continue
        bad = answers[index]
        if is_usable(bad, config) and bad.text.strip() != good.text.strip():
            yield Both(prompt, good, bad)


def first_answers(folder: Path, config: Config, seed: int) -> Iterator[tuple[Prompt, Candidate]]:
    """Yield the prompts that are used, each with the first of M_t's own answers that pairs may use."""
    prompts, candidates = RowFile(folder / "prompts.jsonl", Prompt), RowFile(folder / "candidates.jsonl", Candidate)
    answers = read_answers(prompts, candidates)
    usable = answers.own & ~answers.blank
    usable &= config.pairs.keep_truncated | ~answers.cut_off
    found, first = np.unique(answers.prompt[usable], return_index=True)  # [P'] ascending
    rows = answers.row[usable][first]
    for index in sample(len(found), config.judge_data.max_prompts, seed):
        yield prompts[int(found[index])], candidates[int(rows[index])]


def is_usable(answer: Candidate, config: Config) -> bool:
    """Tell whether an answer may be judged here: it is not blank, and complete unless `pairs.keep_truncated`."""
    return bool(answer.text.strip()) and (config.pairs.keep_truncated or answer.finish_reason == "stop")


# --- tasks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModifyPrompts:
    """The task that writes a modified instruction for each prompt. `folder` has M_t's data."""

    name: str
    folder: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.engines.base import Request, Sampling
        from srlm.models import chat
        from srlm.models.replies import ReplyReader
        from srlm.models.turn_marks import turn_format

        reader, template = ReplyReader(engine.tokenizer), read_modify_template()
        marks = turn_format(engine.tokenizer).marks
        done = {row.prompt_id for row in resume_iter(self.file, ModifiedPrompt, report)}
        prompts = {prompt.id: prompt.text for prompt, _ in first_answers(self.folder, config, seed)}
        how = Sampling(config.prompts.temperature, config.prompts.top_p, config.prompts.max_tokens)
        report.start("modified prompts", len(prompts), len(done))
        requests = (
            Request(
                prompt_id,
                chat.prompt_ids(engine.tokenizer, chat.user(fill_modify_prompt(template, text, marks))),
                how,
                derived_seed(seed, "modified prompt", prompt_id),
            )
            for prompt_id, text in prompts.items()
            if prompt_id not in done
        )
        with RowWriter(self.file, len(done)) as writer:
            for completion in engine.generate(requests):
                said, text = reader.read(completion), prompts[completion.key]
                writer.write(_modified(completion.key, text, said.text.strip(), said.finish_reason, said.thought))
                report.advance()
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class AnswerModified:
    """The task that answers each modified instruction once, with the settings of `candidates`."""

    name: str
    folder: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.stages.candidates import write_candidates

        rows = iter_rows(self.folder / f"{MODIFIED_PROMPTS}.jsonl", ModifiedPrompt)
        prompts = [Prompt(row.id, row.text, "generated", [row.prompt_id], -1) for row in rows if row.dropped is None]
        once = config.candidates.model_copy(update={"per_prompt": 1})
        write_candidates(
            engine, prompts, self.file, candidates=once, seed=seed, report=report, stage="modified answers"
        )
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class JudgeBoth:
    """The task that judges both answers to a prompt, `judge_data.samples` times each."""

    name: str
    folder: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`. Its seeds are others than those of the verdicts that the signal takes its scores from."""
        items = [
            JudgeItem(answer.id, both.prompt.text, answer.text)
            for both in read_both(self.folder, config, seed)
            for answer in (both.good, both.bad)
        ]
        judge = config.judge.model_copy(update={"samples": config.judge_data.samples})
        own = derived_seed(seed, MODIFIED_VERDICTS)
        judge_answers(engine, items, self.file, judge=judge, seed=own, report=report, stage="modified verdicts")
        return {"rows": count_lines(self.file)}


def read_modify_template() -> str:
    """Return the packaged prompt that asks for a modified instruction."""
    return (resources.files("srlm") / "data" / "modify_prompt.txt").read_text(encoding="utf-8").strip()


def fill_modify_prompt(template: str, prompt: str, marks: TurnMarks | None) -> str:
    """Insert an instruction (see `fill_fields`)."""
    return fill_fields(template, {FIELD: prompt}, prompt_escaper(block_names(template), marks))


def why_dropped(text: str, prompt: str, finish_reason: FinishReason) -> Dropped | None:
    """Return why a modified instruction is not answered; up to case and white space it must be another one."""
    if not text:
        return "empty"
    if finish_reason == "length":
        return "cut_off"
    return "same" if " ".join(text.casefold().split()) == " ".join(prompt.casefold().split()) else None


def _modified(
    prompt_id: str, prompt: str, text: str, finish_reason: FinishReason, thought: str | None
) -> ModifiedPrompt:
    row_id = content_id("modified prompt", prompt_id, text)
    return ModifiedPrompt(row_id, prompt_id, text, why_dropped(text, prompt, finish_reason), finish_reason, thought)

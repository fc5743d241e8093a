"""`judge_data.kind: meta_judge`: M_t judges its own judgements (Meta-Rewarding, Wu et al. 2024, arXiv 2407.19594).

Of each prompt the answer is taken whose scores vary most. M_t compares every two of its judgements in both orders; Elo
scores of the judgements (`elo`) tell the best and the worst one, which form a pair.

The paper does not say what to do with an order without a verdict: here both orders of that comparison are left out.
Two differences: the meta-judge does not see the scores (`judge_data.hide_scores`), since it else picks the higher one,
and M_t compares greedily.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from importlib import resources
from itertools import islice, permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from srlm.config import HeadToHeadSection
from srlm.errors import InputError
from srlm.evaluation.pairwise_verdict import parse_verdict
from srlm.judge_data.base import DataStage, RowCheck
from srlm.judge_data.elo import Win, battle_matrix, elo_scores, position_weights
from srlm.judge_data.judgements import read_judged
from srlm.judge_data.preferences import Preference, judge_pairs, limited
from srlm.judge_data.stage_names import JUDGEMENT_COMPARISONS
from srlm.progress import count_lines
from srlm.rows.ids import IdIndex, id_number
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import JudgementComparison, RowWriter, Verdict, content_id
from srlm.rows.resume import resume_iter
from srlm.run.cache_keys import key_inputs
from srlm.signals.stage_names import VERDICTS
from srlm.stages.judge_prompt import block_names, fill_fields, read_template

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from srlm.config import Config, JudgeDataSection
    from srlm.engines.base import Engine
    from srlm.evaluation.pairwise import JudgeOutput
    from srlm.judge_data.judgements import JudgedAnswer
    from srlm.judge_data.preferences import JudgePairs
    from srlm.native import PromptEscaper
    from srlm.reporter import Reporter
    from srlm.workers.tasks import Result

FIELDS = ("{task}", "{first}", "{second}")
REQUESTS_AT_ONCE = 4096  # their prompts are in memory
VERDICT_LABELS = ("first", "second", "tie", "missing")
TIE = -1.0  # a tie by a verdict in words, which is no win of either
SAME = 1e-6  # Elo scores that differ by less are equal


class MetaJudge:
    """See `JudgeData`."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def stages(self, t: int, folder: Path, policy: str) -> list[DataStage]:
        """See `JudgeData.stages`."""
        name, config = f"m{t}/{JUDGEMENT_COMPARISONS}", self._config
        names = ["kind", "max_prompts", "max_judgements", "hide_scores", "justify"]
        names += ["max_tokens"] if config.judge_data.justify else []
        inputs = key_inputs(config, "engine", *(f"judge_data.{key}" for key in names))
        inputs["meta-judge prompt"] = read_meta_template(config.judge_data)
        task = CompareJudgements(name, folder, folder / f"{JUDGEMENT_COMPARISONS}.jsonl")
        return [DataStage(task, inputs, (f"m{t}/{VERDICTS}", policy))]

    def pairs_inputs(self) -> dict[str, Any]:
        """See `JudgeData.pairs_inputs`."""
        return key_inputs(self._config, "judge_data.kind", "judge_data.max_judgement_length", "judge_data.max_share")

    def build(self, folder: Path, seed: int) -> JudgePairs:
        """See `JudgeData.build`."""
        config, seen = self._config, Comparisons(folder / f"{JUDGEMENT_COMPARISONS}.jsonl")
        judged, without_variance = read_judged(folder, config, seed)
        by_position = [position_wins(seen.wins(answer)) for answer in judged]
        first, second = (math.fsum(some) for some in zip(*by_position, strict=True)) if by_position else (0.0, 0.0)
        weights = position_weights(first, second)
        found = [_preference(answer, seen.wins(answer), weights) for answer in read_judged(folder, config, seed)[0]]
        kept, dropped = limited([row for row in found if row is not None], config, seed)
        drops = {"no_variance": without_variance, "undecided": found.count(None), **dropped}
        wins = {"wins_first": round(first, 6), "wins_second": round(second, 6)}
        return judge_pairs(kept, config, drops, answers=len(found), **wins, unparseable=seen.missing)

    def row_checks(self, folder: Path) -> list[RowCheck]:
        """See `JudgeData.row_checks`."""
        rows = RowFile(folder / f"{JUDGEMENT_COMPARISONS}.jsonl", JudgementComparison)
        known = IdIndex.of(row.id for row in RowFile(folder / f"{VERDICTS}.jsonl", Verdict))

        def problem(row: JudgementComparison) -> str | None:
            if lost := [name for name in (row.first_id, row.second_id) if name not in known]:
                return f"its judgement {lost[0]} does not exist"
            if row.id != content_id("comparison", row.first_id, row.second_id, row.text):
                return f"{row.id} is not the id of this text"
            verdict = parse_verdict(row.text)
            return None if verdict == row.verdict else f"its text parses as {verdict}"

        return [RowCheck(JUDGEMENT_COMPARISONS, "ids, verdicts", rows, _shown, problem)]


def _shown(row: JudgementComparison) -> tuple[str, str]:
    return row.first_id, row.second_id


def read_meta_template(judge_data: JudgeDataSection) -> str:
    """Return the packaged prompt of the meta-judge."""
    name = "meta_judge_prompt.txt" if judge_data.justify else "meta_judge_prompt_direct.txt"
    return (resources.files("srlm") / "data" / name).read_text(encoding="utf-8").strip()


def fill_meta_prompt(template: str, task: str, first: str, second: str, escaper: PromptEscaper) -> str:
    """Insert the judge's filled prompt and two judgements (see `fill_fields`)."""
    return fill_fields(template, dict(zip(FIELDS, (task, first, second), strict=True)), escaper)


class Comparisons:
    """The verdicts of a file by the two judgements, as columns: 25 bytes each."""

    def __init__(self, file: Path) -> None:
        first, second, verdict, preference = array("Q"), array("Q"), array("b"), array("d")
        for row in RowFile(file, JudgementComparison):
            first.append(id_number(row.first_id))
            second.append(id_number(row.second_id))
            verdict.append(VERDICT_LABELS.index(row.verdict))
            preference.append(math.nan if row.preference is None else row.preference)
        order = np.lexsort((np.array(second), np.array(first)))  # [B]
        self._first, self._second = np.array(first, np.uint64)[order], np.array(second, np.uint64)[order]  # [B] each
        self._verdict = np.array(verdict, np.int8)[order]  # [B]
        self._preference = np.array(preference, np.float64)[order]  # [B] P(first), NaN: unknown
        self.missing = int((self._verdict == VERDICT_LABELS.index("missing")).sum())

    def wins(self, answer: JudgedAnswer) -> list[Win]:
        """Return the wins in comparisons of an answer's judgements that have a verdict in both orders."""
        ids = [verdict.id for verdict in answer.judgements]
        orders = list(permutations(range(len(ids)), 2))
        shares = {order: self._first_share(ids[order[0]], ids[order[1]]) for order in orders}
        return [
            win
            for first, second in orders
            for share in [shares[first, second]]
            if share is not None and shares[second, first] is not None and share != TIE
            for win in (Win(first, second, True, share), Win(second, first, False, 1 - share))
            if win.amount > 0
        ]

    def _first_share(self, first_id: str, second_id: str) -> float | None:
        """Return by how much the first judgement wins in this order, TIE, or None without a verdict."""
        one, other = np.uint64(id_number(first_id)), np.uint64(id_number(second_id))
        start = int(np.searchsorted(self._first, one))
        end = int(np.searchsorted(self._first, one, side="right"))
        at = start + int(np.searchsorted(self._second[start:end], other))
        label = VERDICT_LABELS[self._verdict[at]] if at < end and self._second[at] == other else "missing"
        if label == "missing":
            return None
        if not math.isnan(self._preference[at]):
            return float(self._preference[at])
        return {"first": 1.0, "second": 0.0}.get(label, TIE)


def position_wins(wins: Sequence[Win]) -> tuple[float, float]:
    """Return the amounts of the wins in the first and in the second position."""
    found = (math.fsum(win.amount for win in wins if win.is_first is first) for first in (True, False))
    return next(found), next(found)


def _preference(answer: JudgedAnswer, wins: list[Win], weights: tuple[float, float]) -> Preference | None:
    """Return the judgements with the highest and the lowest Elo score, or None if all are equal."""
    if not answer.judgements:
        return None
    elo = elo_scores(battle_matrix(len(answer.judgements), wins, weights))
    best, worst = int((-elo).round(6).argmin()), int(elo.round(6).argmin())
    if elo[best] - elo[worst] < SAME:
        return None
    chosen, rejected = answer.judgements[best], answer.judgements[worst]
    return Preference(answer.prompt, answer.answer.text, chosen, rejected, (float(elo[best]), float(elo[worst])))


@dataclass(frozen=True, slots=True)
class CompareJudgements:
    """The task that compares every two judgements of an answer, in both orders. `folder` has M_t's data."""

    name: str
    folder: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.evaluation.pairwise_judges import LocalJudge

        judge_data = config.judge_data
        asks = HeadToHeadSection(justify=judge_data.justify, max_tokens=judge_data.max_tokens)
        try:
            judge = LocalJudge(engine, asks, config.engine.length)
        except InputError as error:
            raise InputError(str(error).replace("head_to_head.", "judge_data.")) from error
        template, task = read_meta_template(judge_data), read_template(config.judge)
        blocks, inner = (judge.escaper(block_names(text)) for text in (template, task))
        done = {(row.first_id, row.second_id) for row in resume_iter(self.file, JudgementComparison, report)}
        sizes = (len(answer.judgements) for answer in read_judged(self.folder, config, seed)[0])
        report.start("judgement comparisons", sum(size * (size - 1) for size in sizes), len(done))
        missing = (
            each
            for each in _ordered(read_judged(self.folder, config, seed)[0])
            if (each[0].judgements[each[1]].id, each[0].judgements[each[2]].id) not in done
        )
        with RowWriter(self.file, len(done)) as writer:
            while part := list(islice(missing, REQUESTS_AT_ONCE)):
                asked = {f"{one.judgements[a].id}.{one.judgements[b].id}": (one, a, b) for one, a, b in part}
                prompts = (
                    (key, _prompt(template, task, one, (a, b), (blocks, inner))) for key, (one, a, b) in asked.items()
                )
                for output in judge.ask(prompts):
                    writer.write(_row(*asked[output.key], output))
                    report.advance()
        return {"rows": count_lines(self.file)}


def _ordered(answers: Iterator[JudgedAnswer]) -> Iterator[tuple[JudgedAnswer, int, int]]:
    for answer in answers:
        for first, second in permutations(range(len(answer.judgements)), 2):
            yield answer, first, second


def _prompt(
    template: str,
    task: str,
    answer: JudgedAnswer,
    shown: tuple[int, int],
    escapers: tuple[PromptEscaper, PromptEscaper],
) -> str:
    values = {"{prompt}": answer.prompt.text, "{response}": answer.answer.text}
    question = fill_fields(task, values, escapers[1])
    return fill_meta_prompt(template, question, answer.texts[shown[0]], answer.texts[shown[1]], escapers[0])


def _row(answer: JudgedAnswer, first: int, second: int, output: JudgeOutput) -> JudgementComparison:
    ids = answer.judgements[first].id, answer.judgements[second].id
    return JudgementComparison(
        id=content_id("comparison", *ids, output.text),
        candidate_id=answer.answer.id,
        first_id=ids[0],
        second_id=ids[1],
        text=output.text,
        verdict=parse_verdict(output.text),
        preference=output.preference,
        thought=output.thought,
    )

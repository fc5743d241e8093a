"""Implicit preferences: does training move a model towards the answers that humans preferred?

The log-ratio log p_Mt(answer) - log p_M0(answer) is DPO's implicit reward up to a factor and a constant of the prompt
(Rafailov et al. 2023, arXiv 2305.18290, section 4). A pair of human-ranked answers counts as right if the better one
has the higher log-ratio; per token, because the log-ratio of a sum grows with length. Nothing is sampled, and no judge
is asked. Two baselines need no training: the longer answer, and the likelihood per token under M_t itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from srlm.evaluation.estimates import NONE, Estimate
from srlm.evaluation.judge_pairs import Judged, compare
from srlm.evaluation.paired import numbered, write_cases
from srlm.rows.records import AnswerLogprob, CaseResult, Example, RankedAnswers, RowWriter, content_id, read_rows
from srlm.rows.resume import resume_rows
from srlm.stages.eft import answer_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.evaluation.judge_pairs import Pairs
    from srlm.reporter import Reporter
    from srlm.workers.jobs import Finish

METRIC = "log_ratio_per_token"  # of the cases, and of the result that they add up to


@dataclass(frozen=True, slots=True)
class ImplicitPreferences:
    """How often pairs that humans ordered are ordered in the same way; intervals over prompts.

    `log_ratio` and `log_ratio_per_token` have no cases for M0 itself.
    """

    prompts: int
    answers: int
    pairs: int
    log_ratio: Estimate
    log_ratio_per_token: Estimate
    likelihood_per_token: Estimate
    longer_accuracy: Estimate


@dataclass(frozen=True, slots=True)
class ReadPreferences:
    """The job that reads the ranked answers of `data` under a model; `base` is the file of M0's readings.

    Without `base` the model is M0.
    """

    name: str
    config: Config
    folder: str
    data: Path
    file: Path
    base: Path | None = None

    def run(self, report: Reporter, finish: Finish) -> None:
        """Write the readings that the file lacks, and measure."""
        ranked = _write_readings(self, read_rows(self.data, RankedAnswers), report)
        readings = read_rows(self.file, AnswerLogprob)
        base = None if self.base is None else read_rows(self.base, AnswerLogprob)
        write_cases(self.file, case_results(ranked, readings, base))
        finish(self.name, {"rows": len(readings), **asdict(measure(ranked, readings, base))})


def _write_readings(job: ReadPreferences, ranked: Sequence[RankedAnswers], report: Reporter) -> list[RankedAnswers]:
    """Write the readings, and return the rows all of whose answers fit into the model's context."""
    from srlm.models import chat, fit, registry
    from srlm.training.answer_readings import Answer, AnswerReader

    tokenizer = registry.load_tokenizer(job.folder, job.config.model)
    examples = [
        Example(answer_id(row, index), chat.user(row.prompt), chat.assistant(text))
        for row in ranked
        for index, text in enumerate(row.answers)
    ]
    encoded = list(zip(examples, *fit.encode_examples(tokenizer, examples), strict=True))
    context = fit.model_shape(job.folder, trust=job.config.model.trust_remote_code).context
    too_long = {row.id for row, ids, _ in encoded if context is not None and len(ids) > context}
    fitting = [row for row in ranked if not any(answer_id(row, index) in too_long for index in range(len(row.answers)))]
    if skipped := len(ranked) - len(fitting):
        report.note(f"{job.name}: skipped {skipped} prompts with an answer beyond the model's context")
    wanted = {answer_id(row, index) for row in fitting for index in range(len(row.answers))}
    answers = [
        Answer(row.id, ids[: mask.index(True)], ids[mask.index(True) :])
        for row, ids, mask in encoded
        if row.id in wanted
    ]
    tokens = {answer.id: len(answer.token_ids) for answer in answers}
    done = {row.candidate_id for row in resume_rows(job.file, AnswerLogprob, report)}
    report.start("log-probabilities of ranked answers", len(answers), len(done))
    with RowWriter(job.file) as writer:
        for name, logp in AnswerReader(job.folder, job.config.model).read(answers, done):
            writer.write(AnswerLogprob(name, tokens[name], logp))
            report.advance()
    return fitting


def measure(
    ranked: Sequence[RankedAnswers], readings: Sequence[AnswerLogprob], base: Sequence[AnswerLogprob] | None
) -> ImplicitPreferences:
    """Compare the model's readings with the human ranking; `base` are M0's, None if the model is M0."""
    own = {row.candidate_id: row for row in readings}
    likely = _pairs(ranked, lambda key: own[key].logprob / max(1, own[key].tokens))
    ratio, per_token = (None if base is None else _log_ratios(ranked, own, base, each) for each in (False, True))
    return ImplicitPreferences(
        prompts=len({row.prompt for row in ranked}),
        answers=len(own),
        pairs=len(likely.right),
        log_ratio=NONE if ratio is None else ratio.estimate(ratio.right),
        log_ratio_per_token=NONE if per_token is None else per_token.estimate(per_token.right),
        likelihood_per_token=likely.estimate(likely.right),
        longer_accuracy=likely.estimate(likely.longer),
    )


def case_results(
    ranked: Sequence[RankedAnswers], readings: Sequence[AnswerLogprob], base: Sequence[AnswerLogprob] | None
) -> list[CaseResult]:
    """Return the result of every pair by the log-ratio per token, for changes between models; none for M0."""
    if base is None:
        return []
    pairs = _log_ratios(ranked, {row.candidate_id: row for row in readings}, base, per_token=True)
    texts = list(dict.fromkeys(row.prompt for row in ranked))
    prompts = [content_id("prompt", texts[prompt]) for prompt in pairs.prompts]
    rows = zip(pairs.names, prompts, pairs.right, strict=True)
    return numbered([CaseResult(METRIC, name, prompt, value) for name, prompt, value in rows])


def _log_ratios(
    ranked: Sequence[RankedAnswers], own: Mapping[str, AnswerLogprob], base: Sequence[AnswerLogprob], per_token: bool
) -> Pairs:
    before = {row.candidate_id: row.logprob for row in base}

    def score(key: str) -> float:
        difference = own[key].logprob - before[key]
        return difference / max(1, own[key].tokens) if per_token else difference

    return _pairs(ranked, score)


def _pairs(ranked: Sequence[RankedAnswers], score: Callable[[str], float]) -> Pairs:
    """Return the pairs that humans ordered, as ordered by a score of each answer."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(row.prompt for row in ranked))}
    scored = [(row, [score(answer_id(row, index)) for index in range(len(row.answers))]) for row in ranked]
    return compare(Judged(numbers[row.prompt], row, [*scores], [*scores]) for row, scores in scored)

"""Head to head: a judge compares two models' answers to the same prompt, in both orders (paper, section 3.3).

A model wins a prompt if the judge prefers its answer in both orders. All other combinations of verdicts are ties, as
the judge then follows the position or has no preference. Prompts with an unparseable verdict in either order are
excluded.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Literal, Protocol

from srlm.evaluation.estimates import NONE, Estimate, mean
from srlm.evaluation.pairwise_verdict import VerdictLabel as VerdictLabel
from srlm.evaluation.pairwise_verdict import parse_verdict as parse_verdict
from srlm.evaluation.win_rates import LOSS, TIE, WIN, win_rates
from srlm.rows.records import CaseResult, Comparison, RowWriter, content_id
from srlm.rows.resume import resume_rows
from srlm.stages.judge_prompt import block_names, fill_fields, prompt_escaper, read_prompt_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from srlm.config import HeadToHeadSection
    from srlm.native import PromptEscaper
    from srlm.reporter import Reporter
    from srlm.rows.records import Candidate, Prompt

Side = Literal["a", "b"]
SIDES: tuple[Side, Side] = ("a", "b")
IDENTICAL = "The two answers are the same."  # the text of a comparison without a call to the judge
FIELDS = ("{prompt}", "{first}", "{second}")


@dataclass(frozen=True, slots=True)
class JudgeOutput:
    """A judge's response: what it said and thought, and P(first answer) if the verdict token's log-probabilities were
    used."""

    key: str
    text: str
    preference: float | None = None
    thought: str | None = None


class Judge(Protocol):
    """The judge of a comparison: a local model (`LocalJudge`) or an endpoint (`EndpointJudge`)."""

    def escaper(self, blocks: Sequence[str]) -> PromptEscaper:
        """Return the escaper of texts for a prompt with these blocks."""

    def ask(self, prompts: Iterable[tuple[str, str]]) -> Iterator[JudgeOutput]:
        """Yield an output for every (key, prompt) as it finishes, in any order."""


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """Results of model a against model b.

    `win_rate` counts a tie as half a win; `length_controlled` is the length-controlled win rate, with the p-value of
    its test, or the reason why it is withheld (see `win_rates.WinRates`).
    `first_position_rate` is the share of verdicts, without ties, for the answer shown first: 0.5 without position bias.
    `preference` is the mean probability of a's answer, averaged over both orders, if verdict tokens were used.
    """

    prompts: int
    wins: int
    ties: int
    losses: int
    unparseable: int
    disagreements: int
    win_rate: Estimate
    length_controlled: Estimate
    length_controlled_p: float | None
    length_controlled_withheld: str | None
    preference: Estimate
    first_position_rate: float | None
    mean_length: list[float]  # characters, of a and of b


def read_template(head_to_head: HeadToHeadSection) -> str:
    """Return the template of the comparison prompt: the packaged one or the user's file.

    Raises:
        InputError: the file cannot be read, or lacks one of the fields {prompt}, {first} and {second}.
    """
    if head_to_head.prompt_file is not None:
        return read_prompt_file("head_to_head.prompt_file", head_to_head.prompt_file, FIELDS)
    name = "pairwise_prompt.txt" if head_to_head.justify else "pairwise_prompt_direct.txt"
    return (resources.files("srlm") / "data" / name).read_text(encoding="utf-8").strip()


def fill(template: str, prompt: str, first: str, second: str, escaper: PromptEscaper | None = None) -> str:
    """Fill the template with a question and two answers (see `fill_fields`)."""
    escaper = escaper or prompt_escaper(block_names(template), None)
    return fill_fields(template, dict(zip(FIELDS, (prompt, first, second), strict=True)), escaper)


def write_comparisons(
    judge: Judge,
    prompts: Sequence[Prompt],
    answers: tuple[Sequence[Candidate], Sequence[Candidate]],
    file: Path,
    *,
    head_to_head: HeadToHeadSection,
    report: Reporter,
    stage: str,
) -> None:
    """Append the missing comparisons to `file`: two per prompt, one in each order.

    `answers` are those of model a and of model b, one per prompt. Equal answers are a tie without a call to the judge.
    """
    texts = [{row.prompt_id: row.text for row in rows} for rows in answers]
    done = {(row.prompt_id, row.first) for row in resume_rows(file, Comparison, report)}
    missing = [(prompt, first) for prompt in prompts for first in SIDES if (prompt.id, first) not in done]
    report.start(stage, len(missing) + len(done), len(done))
    template = read_template(head_to_head)
    pending: dict[str, tuple[Prompt, Side]] = {}
    with RowWriter(file) as writer:
        for prompt, first in missing:
            if texts[0][prompt.id] == texts[1][prompt.id]:
                writer.write(comparison(prompt, first, IDENTICAL, "tie", None))
                report.advance()
            else:
                pending[f"{prompt.id}.{first}"] = (prompt, first)
        escaper = judge.escaper(block_names(template))
        for output in judge.ask(_judge_prompts(template, pending, texts, escaper)):
            prompt, first = pending[output.key]
            verdict = parse_verdict(output.text)
            writer.write(comparison(prompt, first, output.text, verdict, output.preference, output.thought))
            report.advance()


def head_to_head_result(
    prompts: Sequence[Prompt],
    answers: tuple[Sequence[Candidate], Sequence[Candidate]],
    comparisons: Sequence[Comparison],
) -> HeadToHead:
    """Count wins, ties and losses, and compute the rates."""
    length_a, length_b = ({row.prompt_id: len(row.text) for row in rows} for rows in answers)
    by_prompt, results = _grouped(prompts, comparisons), prompt_results(prompts, comparisons)
    rates = win_rates(list(results.values()), [length_a[key] for key in results], [length_b[key] for key in results])
    decided = [row.verdict for row in comparisons if row.verdict in ("first", "second")]
    return HeadToHead(
        prompts=len(prompts),
        wins=rates.wins,
        ties=rates.ties,
        losses=rates.losses,
        unparseable=len(prompts) - len(results),
        disagreements=sum(
            rows["a"].verdict == rows["b"].verdict != "tie" for key, rows in by_prompt.items() if key in results
        ),
        win_rate=rates.win_rate,
        length_controlled=rates.length_controlled,
        length_controlled_p=rates.length_controlled_p,
        length_controlled_withheld=rates.length_controlled_withheld,
        preference=_preference(by_prompt),
        first_position_rate=decided.count("first") / len(decided) if decided else None,
        mean_length=[sum(lengths.values()) / max(1, len(lengths)) for lengths in (length_a, length_b)],
    )


def prompt_results(prompts: Sequence[Prompt], comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Return a's result (WIN, TIE or LOSS) by prompt id, of the prompts with a parseable verdict in both orders."""
    return {
        key: _result(rows["a"].verdict, rows["b"].verdict)
        for key, rows in _grouped(prompts, comparisons).items()
        if len(rows) == 2 and "missing" not in (rows["a"].verdict, rows["b"].verdict)
    }


def case_results(prompts: Sequence[Prompt], comparisons: Sequence[Comparison]) -> list[CaseResult]:
    """Return a's result on every compared prompt, for the changes from one model to another (`paired`)."""
    results = prompt_results(prompts, comparisons)
    return [CaseResult("win_rate", key, key, result) for key, result in results.items()]


def _judge_prompts(
    template: str,
    pending: Mapping[str, tuple[Prompt, Side]],
    texts: Sequence[Mapping[str, str]],
    escaper: PromptEscaper,
) -> Iterator[tuple[str, str]]:
    for key, (prompt, first) in pending.items():
        one, other = (texts[side][prompt.id] for side in ((0, 1) if first == "a" else (1, 0)))
        yield key, fill(template, prompt.text, one, other, escaper)


def comparison(
    prompt: Prompt,
    first: Side,
    text: str,
    verdict: VerdictLabel,
    preference: float | None,
    thought: str | None = None,
) -> Comparison:
    """Return the row for one verdict."""
    row_id = content_id("comparison", prompt.id, first, text)
    return Comparison(row_id, prompt.id, first, text, verdict, preference, thought)


def _grouped(prompts: Sequence[Prompt], comparisons: Sequence[Comparison]) -> dict[str, dict[str, Comparison]]:
    found: dict[str, dict[str, Comparison]] = {prompt.id: {} for prompt in prompts}
    for row in comparisons:
        found[row.prompt_id][row.first] = row
    return found


def _result(a_first: VerdictLabel, b_first: VerdictLabel) -> float:
    """Return a's result, given the verdict with a's answer first and the verdict with b's answer first."""
    if (a_first, b_first) == ("first", "second"):
        return WIN
    return LOSS if (a_first, b_first) == ("second", "first") else TIE


def _preference(by_prompt: Mapping[str, Mapping[str, Comparison]]) -> Estimate:
    """Estimate the mean probability of a's answer, over prompts with a verdict token in both orders.

    Equal answers, which are not judged, count as 0.5; without any judged prompt there is no estimate.
    """
    both = [rows for rows in by_prompt.values() if len(rows) == 2]
    judged = [
        (rows["a"].preference + 1 - rows["b"].preference) / 2
        for rows in both
        if rows["a"].preference is not None and rows["b"].preference is not None
    ]
    same = [0.5 for rows in both if rows["a"].text == rows["b"].text == IDENTICAL]
    return mean(judged + same) if judged else NONE

"""Head to head: a judge sees two models' answers to the same prompt, in both orders (paper, section 3.3).

A model wins a prompt if the judge prefers its answer in both orders; whatever else was read is a tie, since then the
place of an answer decided, or nothing did. A prompt of which one order holds no readable verdict is counted out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Literal, Protocol

from srlm.evaluation.estimates import NONE, Estimate, mean
from srlm.evaluation.win_rates import LOSS, TIE, WIN, win_rates
from srlm.rows.records import Comparison, RowWriter, content_id, resume_rows
from srlm.stages import judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from srlm.config import HeadToHeadSection
    from srlm.reporter import Reporter
    from srlm.rows.records import Candidate, Prompt

Side = Literal["a", "b"]
Word = Literal["first", "second", "tie", "missing"]
SIDES: tuple[Side, Side] = ("a", "b")
SAME = "The two answers are the same."
FIELDS = ("{prompt}", "{first}", "{second}")
# The word declares a verdict where it opens a line, or has a colon or a dash behind it; "I reached this verdict because
# B is wrong" declares none. "is" counts only if an answer follows: "this verdict is final" speaks of the one before.
LABEL = re.compile(
    r"(?:^[^\w\n]{0,12}(?:(?:my|the)\s+)?(?:final\s+)?verdict\b(?!\s+is\b)|\bverdict\W{0,4}?[:=\u2013\u2014-]|(?P<is>\bverdict\s+is\b))\W*",
    re.IGNORECASE | re.MULTILINE,
)
# A small letter is one of the two answers only where nothing follows it: "a" is also an article.
CHOICE = re.compile(
    r"(?i:(?:it['\u2019]?s|it\s+is)\s+)?(?i:an?\s+)?(?P<tie>(?i:tied?|draw))\b"
    r"|(?i:an?\s+(?:\w+\s+)?(?:win|victory)\s+for\s+)?(?i:(?:answer|assistant|response|option)\W*)?"
    r"(?P<one>[AB]\b(?!\s+(?:\w+\s+)?(?:win|victory)\s+for\b)|[ab](?=\W*(?:\n|$)))(?!\s*(?:and|or|/|&|=)\s*[AaBb]\b)"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a judge replied: its text, and P(the first of the two) where the verdict's token was read."""

    key: str
    text: str
    preference: float | None = None


class Judge(Protocol):
    """Whoever compares: a local model (`LocalJudge`) or an endpoint (`EndpointJudge`)."""

    def ask(self, questions: Iterable[tuple[str, str]]) -> Iterator[Answer]:
        """Ask (key, question)s; answers come as they finish, in any order."""


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """How model a fares against model b.

    `win_rate` counts a tie one half, `length_controlled` is what is left of it at equal lengths (see `win_rates`).
    `first_share` is the share of verdicts, ties left out, for whoever stood first: 0.5 for a judge who does not mind.
    `preference` is the mean probability of a's answer, both orders taken together, where verdict tokens were read.
    """

    prompts: int
    wins: int
    ties: int
    losses: int
    unread: int
    disagreements: int
    win_rate: Estimate
    length_controlled: Estimate
    preference: Estimate
    first_share: float | None
    mean_length: list[float]  # characters, of a and of b


def read_template(head_to_head: HeadToHeadSection) -> str:
    """Return the prompt for comparing: the packaged wording or the user's file.

    Raises:
        InputError: the file cannot be read, or lacks one of the fields {prompt}, {first} and {second}.
    """
    if head_to_head.prompt_file is not None:
        return judge.read_prompt_file("head_to_head.prompt_file", head_to_head.prompt_file, FIELDS)
    name = "pairwise_prompt.txt" if head_to_head.justify else "pairwise_prompt_direct.txt"
    return (resources.files("srlm") / "data" / name).read_text(encoding="utf-8").strip()


def fill(template: str, prompt: str, first: str, second: str) -> str:
    """Put a question and two answers into the prompt (see `judge.fill_fields`)."""
    return judge.fill_fields(template, dict(zip(FIELDS, (prompt, first, second), strict=True)))


def read_word(reply: str) -> Word:
    """Read the last verdict of a reply; "missing" where there is none, or one for both."""
    found = ((label, CHOICE.match(reply, label.end())) for label in LABEL.finditer(reply))
    declared = [choice for label, choice in found if choice is not None or label["is"] is None]
    choice = declared[-1] if declared else None
    if choice is None:
        return "missing"
    if choice["tie"]:
        return "tie"
    return "first" if choice["one"].upper() == "A" else "second"


def write_comparisons(
    who: Judge,
    prompts: Sequence[Prompt],
    answers: tuple[Sequence[Candidate], Sequence[Candidate]],
    file: Path,
    *,
    head_to_head: HeadToHeadSection,
    report: Reporter,
    stage: str,
) -> None:
    """Append to `file` the comparisons that it still lacks: two a prompt, one in each order.

    `answers` are model a's and model b's, one a prompt. Equal answers are a tie that no judge is asked about.
    """
    texts = [{row.prompt_id: row.text for row in rows} for rows in answers]
    done = {(row.prompt_id, row.first) for row in resume_rows(file, Comparison, report)}
    places = [(prompt, first) for prompt in prompts for first in SIDES if (prompt.id, first) not in done]
    report.start(stage, len(places) + len(done), len(done))
    template = read_template(head_to_head)
    asked: dict[str, tuple[Prompt, Side]] = {}
    with RowWriter(file) as writer:
        for prompt, first in places:
            if texts[0][prompt.id] == texts[1][prompt.id]:
                writer.write(comparison(prompt, first, SAME, "tie", None))
                report.advance()
            else:
                asked[f"{prompt.id}.{first}"] = (prompt, first)
        for answer in who.ask(_questions(template, asked, texts)):
            prompt, first = asked[answer.key]
            writer.write(comparison(prompt, first, answer.text, read_word(answer.text), answer.preference))
            report.advance()


def head_to_head_result(
    prompts: Sequence[Prompt],
    answers: tuple[Sequence[Candidate], Sequence[Candidate]],
    comparisons: Sequence[Comparison],
) -> HeadToHead:
    """Count wins and take the rates."""
    length_a, length_b = ({row.prompt_id: len(row.text) for row in rows} for rows in answers)
    by_prompt = _grouped(prompts, comparisons)
    results = {
        key: _result(rows["a"].verdict, rows["b"].verdict)
        for key, rows in by_prompt.items()
        if len(rows) == 2 and "missing" not in (rows["a"].verdict, rows["b"].verdict)
    }
    rates = win_rates(list(results.values()), [length_a[key] for key in results], [length_b[key] for key in results])
    words = [row.verdict for row in comparisons if row.verdict in ("first", "second")]
    return HeadToHead(
        prompts=len(prompts),
        wins=rates.wins,
        ties=rates.ties,
        losses=rates.losses,
        unread=len(prompts) - len(results),
        disagreements=sum(
            rows["a"].verdict == rows["b"].verdict != "tie" for key, rows in by_prompt.items() if key in results
        ),
        win_rate=rates.win_rate,
        length_controlled=rates.length_controlled,
        preference=_preference(by_prompt),
        first_share=words.count("first") / len(words) if words else None,
        mean_length=[sum(lengths.values()) / max(1, len(lengths)) for lengths in (length_a, length_b)],
    )


def _questions(
    template: str, asked: Mapping[str, tuple[Prompt, Side]], texts: Sequence[Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    for key, (prompt, first) in asked.items():
        one, other = (texts[side][prompt.id] for side in ((0, 1) if first == "a" else (1, 0)))
        yield key, fill(template, prompt.text, one, other)


def comparison(prompt: Prompt, first: Side, text: str, word: Word, preference: float | None) -> Comparison:
    """Return the row of one verdict."""
    return Comparison(content_id("comparison", prompt.id, first, text), prompt.id, first, text, word, preference)


def _grouped(prompts: Sequence[Prompt], comparisons: Sequence[Comparison]) -> dict[str, dict[str, Comparison]]:
    found: dict[str, dict[str, Comparison]] = {prompt.id: {} for prompt in prompts}
    for row in comparisons:
        found[row.prompt_id][row.first] = row
    return found


def _result(a_first: Word, b_first: Word) -> float:
    """Return a's result from the verdict with a's answer first and the one with b's answer first."""
    if (a_first, b_first) == ("first", "second"):
        return WIN
    return LOSS if (a_first, b_first) == ("second", "first") else TIE


def _preference(by_prompt: Mapping[str, Mapping[str, Comparison]]) -> Estimate:
    """Estimate the mean probability of a's answer, over prompts both of whose orders were read from tokens.

    Equal answers, which no judge is asked about, are as likely as each other; alone they say nothing.
    """
    both = [rows for rows in by_prompt.values() if len(rows) == 2]
    read = [
        (rows["a"].preference + 1 - rows["b"].preference) / 2
        for rows in both
        if rows["a"].preference is not None and rows["b"].preference is not None
    ]
    same = [0.5 for rows in both if rows["a"].text == rows["b"].text == SAME]
    return mean(read + same) if read else NONE

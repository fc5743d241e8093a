"""A random sample of preference pairs with their verdicts, and the outcome of every candidate.

The files may have millions of rows: each file is read once, line by line, and only the sampled lines are parsed. From
the other lines only ids (see `srlm.rows.ids`) and keywords are extracted, by regular expressions on the bytes. These
cannot match inside a text, because JSON escapes every quote there.
"""

from __future__ import annotations

import random
import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from srlm.report.collect import RESTORE, complete_lines
from srlm.rows.ids import id_number
from srlm.rows.json_lines import parse_line
from srlm.rows.records import CandidateComparison, ModelLogprob, Pair, Score, Verdict, derived_seed, row_from_json
from srlm.signals.stage_names import COMPARISONS, LOGPROBS, SCORES, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from srlm.report.collect import RunData

_ID = re.compile(rb'"id":\s?"([^"]+)"')
_CANDIDATE = re.compile(rb'"candidate_id":\s?"([^"]+)"')
_PAIR_MEMBER = re.compile(rb'"(?:chosen|rejected)_id":\s?"([^"]+)"')
_SCORED = re.compile(rb'"outcome":\s?"scored"')
_TRUNCATED = re.compile(rb'"finish_reason":\s?"length"')


@dataclass(frozen=True, slots=True)
class Samples:
    """The sampled `pairs` of `total`, in file order and in the format of the page's script; `outcomes` by model.

    A model that is trained on positives only has neither: those rows do not name their candidates.
    """

    total: int
    pairs: list[dict[str, Any]]
    outcomes: dict[int, dict[str, int]]


@dataclass(frozen=True, slots=True)
class _SampledPairs:
    """The result of one pass over the pairs of all models."""

    total: int
    rows: list[tuple[int, dict[str, Any]]]  # (t, pair)
    paired: dict[int, NDArray[np.uint64]]  # ids of the candidates in M_t's pairs


def read_samples(run: RunData, count: int) -> Samples:
    """Sample `count` pairs of all models uniformly, with the run's seed.

    Raises:
        InputError: a row cannot be read; the message names the file and the line.
    """
    generated = [model.t for model in run.models if model.data is not None and not model.positives_only]
    sampled = _sample_pairs([(t, run.path / f"m{t}" / "pairs.jsonl") for t in generated], count, run.seed)
    pairs: list[dict[str, Any]] = []
    outcomes = {}
    for t in generated:
        rows = [row for number, row in sampled.rows if number == t]
        wanted = {str(row[key]).encode() for row in rows for key in ("chosen_id", "rejected_id")}
        scored, verdicts = _read_scores(run.path / f"m{t}", wanted)
        pairs += [_pair_record(t, row, verdicts) for row in rows]
        outcomes[t] = _candidate_outcomes(run.path / f"m{t}" / "candidates.jsonl", scored, sampled.paired[t])
    return Samples(sampled.total, pairs, outcomes)


def _sample_pairs(files: Iterable[tuple[int, Path]], count: int, seed: int) -> _SampledPairs:
    """Sample lines by reservoir sampling (Vitter 1985, algorithm R), because their number is not known in advance."""
    rng = random.Random(derived_seed(seed, "report"))
    kept: list[tuple[int, int, Path, int, bytes]] = []  # (row over all files, t, file, line number, line)
    paired: dict[int, NDArray[np.uint64]] = {}
    total = 0
    for t, file in files:
        ids = array("Q")
        for number, line in complete_lines(file):
            ids.extend(map(_id_number, _PAIR_MEMBER.findall(line)))
            row = (total, t, file, number, line)
            total += 1
            if len(kept) < count:
                kept.append(row)
            elif (index := rng.randrange(total)) < count:
                kept[index] = row
        paired[t] = np.array(ids)
    kept.sort(key=lambda row: row[0])
    return _SampledPairs(total, [(t, _parsed(line, file, number, Pair)) for _, t, file, number, line in kept], paired)


def _parsed(line: bytes, file: Path, number: int, kind: type[Any]) -> dict[str, Any]:
    row = parse_line(line, file, number, RESTORE) or {}
    row_from_json(row, kind, f"{file}, line {number}")
    return row


def _read_scores(folder: Path, wanted: set[bytes]) -> tuple[NDArray[np.uint64], dict[str, list[dict[str, Any]]]]:
    """Return the ids of all scored candidates, and the verdicts on the `wanted` candidates by candidate id.

    The scores of another signal are shown as verdicts, with their details as texts.
    """
    file, scored = folder / f"{VERDICTS}.jsonl", array("Q")
    if not file.exists() and (folder / f"{SCORES}.jsonl").exists():
        return _read_signal_scores(folder / f"{SCORES}.jsonl", wanted)
    if not file.exists() and (folder / f"{LOGPROBS}.jsonl").exists():
        return _read_logprobs(folder / f"{LOGPROBS}.jsonl", wanted)
    if not file.exists() and (folder / f"{COMPARISONS}.jsonl").exists():
        return _read_comparisons(folder / f"{COMPARISONS}.jsonl", wanted)
    verdicts: dict[str, list[dict[str, Any]]] = {}
    for number, line in complete_lines(file):
        found = _CANDIDATE.search(line)
        if found is None:
            continue
        if _SCORED.search(line):
            scored.append(_id_number(found[1]))
        if found[1] in wanted:
            row = _parsed(line, file, number, Verdict)
            verdicts.setdefault(row["candidate_id"], []).append(row)
    return np.array(scored), verdicts


def _read_signal_scores(file: Path, wanted: set[bytes]) -> tuple[NDArray[np.uint64], dict[str, list[dict[str, Any]]]]:
    scored, shown = array("Q"), dict[str, list[dict[str, Any]]]()
    for number, line in complete_lines(file):
        row = _parsed(line, file, number, Score)
        if row["score"] is not None:
            scored.append(id_number(row["candidate_id"]))
        if row["candidate_id"].encode() in wanted:
            parts = [f"final answer: {row['answer']}" if row["answer"] is not None else None, row["detail"]]
            text, outcome = "; ".join(filter(None, parts)), "missing" if row["score"] is None else "scored"
            shown[row["candidate_id"]] = [{"sample": 0, "outcome": outcome, "score": row["score"], "text": text}]
    return np.array(scored), shown


def _read_logprobs(file: Path, wanted: set[bytes]) -> tuple[NDArray[np.uint64], dict[str, list[dict[str, Any]]]]:
    """Read log-probabilities as `_read_scores` does; each is shown as a row of its own."""
    scored, shown = array("Q"), dict[str, list[dict[str, Any]]]()
    for number, line in complete_lines(file):
        row = _parsed(line, file, number, ModelLogprob)
        scored.append(id_number(row["candidate_id"]))
        if row["candidate_id"].encode() in wanted:
            text = f"log p = {row['logprob']:.2f} nats under the {row['model']}, {row['tokens']} tokens"
            rows = shown.setdefault(row["candidate_id"], [])
            rows.append({"sample": len(rows), "outcome": "scored", "score": None, "text": text})
    return np.unique(np.array(scored, dtype=np.uint64)), shown


def _read_comparisons(file: Path, wanted: set[bytes]) -> tuple[NDArray[np.uint64], dict[str, list[dict[str, Any]]]]:
    """Read comparisons as `_read_scores` does; an answer's rows are those in which it was shown first."""
    scored, shown = array("Q"), dict[str, list[dict[str, Any]]]()
    for number, line in complete_lines(file):
        row = _parsed(line, file, number, CandidateComparison)
        if row["verdict"] != "missing":
            scored.append(id_number(row["first_id"]))
        if row["first_id"].encode() in wanted:
            preferred = "" if row.get("preference") is None else f" (P = {row['preference']:.2f})"
            text = f"against {row['second_id']}: {row['verdict']}{preferred}"
            rows = shown.setdefault(row["first_id"], [])
            rows.append({"sample": len(rows), "outcome": "scored", "score": None, "text": text})
    return np.unique(np.array(scored, dtype=np.uint64)), shown


def _candidate_outcomes(file: Path, scored: NDArray[np.uint64], paired: NDArray[np.uint64]) -> dict[str, int]:
    """Count candidates by outcome; each is counted once, under the first outcome that applies."""
    ids, cut_off = array("Q"), bytearray()
    for _, line in complete_lines(file):
        found = _ID.search(line)
        ids.append(_id_number(found[1] if found else b""))
        cut_off.append(_TRUNCATED.search(line) is not None)
    keys, truncated = np.array(ids), np.array(cut_off, dtype=np.bool_)  # [C], [C]
    in_a_pair, has_score = np.isin(keys, paired), np.isin(keys, scored)  # [C], [C]
    rest = ~in_a_pair & has_score
    outcomes = {"in a pair": in_a_pair, "not scored": ~in_a_pair & ~has_score, "truncated": rest & truncated}
    return {name: int(marks.sum()) for name, marks in {**outcomes, "not in a pair": rest & ~truncated}.items()}


def _id_number(key: bytes) -> int:
    return id_number(key.decode("utf-8", errors="surrogateescape"))


def _pair_record(t: int, row: dict[str, Any], verdicts: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "model": t,
        "prompt": _text(row["prompt"]),
        **{side: _side_record(row, side, verdicts) for side in ("chosen", "rejected")},
    }


def _side_record(row: dict[str, Any], side: str, verdicts: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    text, tokens = _text(row[side]), row.get(f"{side}_token_ids")
    found = sorted(verdicts.get(row[f"{side}_id"], []), key=lambda verdict: verdict["sample"])
    return {
        "text": text,
        "score": row[f"{side}_score"],
        "length": None if tokens is None else len(tokens),
        "verdicts": [{key: verdict[key] for key in ("outcome", "score", "text")} for verdict in found],
    }


def _text(messages: list[dict[str, str]]) -> str:
    """Return a conversation as one text; a single message is shown without its role."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)

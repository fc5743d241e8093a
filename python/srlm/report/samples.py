"""Pairs to look at, drawn at random with their verdicts, and what became of every candidate.

The files may have millions of rows: each is read once, line by line, and only the lines that were drawn are parsed. Of
the others no more is taken than the number of an id (`ids`) or a word, by patterns on the bytes. These cannot match
inside a text, where JSON escapes every quote.
"""

from __future__ import annotations

import random
import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from srlm.report.collect import RESTORE, whole_lines
from srlm.rows.ids import id_number
from srlm.rows.json_lines import parse_line
from srlm.rows.records import Pair, Verdict, derived_seed, row_from

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from srlm.report.collect import RunData

_ID = re.compile(rb'"id":\s?"([^"]+)"')
_CANDIDATE = re.compile(rb'"candidate_id":\s?"([^"]+)"')
_PAIRED = re.compile(rb'"(?:chosen|rejected)_id":\s?"([^"]+)"')
_SCORED = re.compile(rb'"outcome":\s?"scored"')
_CUT_OFF = re.compile(rb'"finish_reason":\s?"length"')


@dataclass(frozen=True, slots=True)
class Samples:
    """`pairs` of `total`, in the order of the files, as the page's script reads them; `fates` by model.

    A model that learns from good answers alone has neither: those rows do not name their candidates.
    """

    total: int
    pairs: list[dict[str, Any]]
    fates: dict[int, dict[str, int]]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What one pass over the pairs of all models gives."""

    total: int
    rows: list[tuple[int, dict[str, Any]]]  # (t, pair)
    paired: dict[int, NDArray[np.uint64]]  # ids of the candidates in M_t's pairs


def read_samples(run: RunData, count: int) -> Samples:
    """Draw `count` pairs of all models, all alike to be drawn, by the run's seed.

    Raises:
        InputError: a file's row cannot be read; names the file and the line.
    """
    made = [model.t for model in run.models if model.data is not None and not model.by_positives]
    drawn = _draw([(t, run.path / f"m{t}" / "pairs.jsonl") for t in made], count, run.seed)
    pairs: list[dict[str, Any]] = []
    fates = {}
    for t in made:
        rows = [row for number, row in drawn.rows if number == t]
        wanted = {str(row[key]).encode() for row in rows for key in ("chosen_id", "rejected_id")}
        scored, verdicts = _read_verdicts(run.path / f"m{t}" / "verdicts.jsonl", wanted)
        pairs += [_sample(t, row, verdicts) for row in rows]
        fates[t] = _fates(run.path / f"m{t}" / "candidates.jsonl", scored, drawn.paired[t])
    return Samples(drawn.total, pairs, fates)


def _draw(files: Iterable[tuple[int, Path]], count: int, seed: int) -> _Drawn:
    """Draw lines by reservoir sampling (Vitter 1985, algorithm R), since their number is not known beforehand."""
    draws = random.Random(derived_seed(seed, "report"))
    kept: list[tuple[int, int, Path, int, bytes]] = []  # (row over all files, t, file, line number, line)
    paired: dict[int, NDArray[np.uint64]] = {}
    total = 0
    for t, file in files:
        ids = array("Q")
        for number, line in whole_lines(file):
            ids.extend(map(_number, _PAIRED.findall(line)))
            row = (total, t, file, number, line)
            total += 1
            if len(kept) < count:
                kept.append(row)
            elif (place := draws.randrange(total)) < count:
                kept[place] = row
        paired[t] = np.array(ids)
    kept.sort(key=lambda row: row[0])
    return _Drawn(total, [(t, _parsed(line, file, number, Pair)) for _, t, file, number, line in kept], paired)


def _parsed(line: bytes, file: Path, number: int, kind: type[Pair | Verdict]) -> dict[str, Any]:
    row = parse_line(line, file, number, RESTORE) or {}
    row_from(row, kind, f"{file}, line {number}")
    return row


def _read_verdicts(file: Path, wanted: set[bytes]) -> tuple[NDArray[np.uint64], dict[str, list[dict[str, Any]]]]:
    """Return the ids of all candidates with a score, and the verdicts of the wanted ones by candidate."""
    scored = array("Q")
    verdicts: dict[str, list[dict[str, Any]]] = {}
    for number, line in whole_lines(file):
        found = _CANDIDATE.search(line)
        if found is None:
            continue
        if _SCORED.search(line):
            scored.append(_number(found[1]))
        if found[1] in wanted:
            row = _parsed(line, file, number, Verdict)
            verdicts.setdefault(row["candidate_id"], []).append(row)
    return np.array(scored), verdicts


def _fates(file: Path, scored: NDArray[np.uint64], paired: NDArray[np.uint64]) -> dict[str, int]:
    """Count candidates by what became of them; each is counted once, under the first that holds."""
    ids, cut = array("Q"), bytearray()
    for _, line in whole_lines(file):
        found = _ID.search(line)
        ids.append(_number(found[1] if found else b""))
        cut.append(_CUT_OFF.search(line) is not None)
    names, cut_off = np.array(ids), np.array(cut, dtype=np.bool_)  # [C], [C]
    in_a_pair, has_score = np.isin(names, paired), np.isin(names, scored)  # [C], [C]
    rest = ~in_a_pair & has_score
    fates = {"in a pair": in_a_pair, "not scored": ~in_a_pair & ~has_score, "cut off": rest & cut_off}
    return {name: int(marks.sum()) for name, marks in {**fates, "in no pair": rest & ~cut_off}.items()}


def _number(key: bytes) -> int:
    return id_number(key.decode("utf-8", errors="surrogateescape"))


def _sample(t: int, row: dict[str, Any], verdicts: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "model": t,
        "prompt": _text(row["prompt"]),
        **{side: _side(row, side, verdicts) for side in ("chosen", "rejected")},
    }


def _side(row: dict[str, Any], side: str, verdicts: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    text, tokens = _text(row[side]), row.get(f"{side}_token_ids")
    found = sorted(verdicts.get(row[f"{side}_id"], []), key=lambda verdict: verdict["sample"])
    return {
        "text": text,
        "score": row[f"{side}_score"],
        "length": None if tokens is None else len(tokens),
        "verdicts": [{"outcome": one["outcome"], "score": one["score"], "text": one["text"]} for one in found],
    }


def _text(messages: list[dict[str, str]]) -> str:
    """Return a conversation as one text; a single message without its role."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)

"""Exact and near duplicates: against naive implementations, in any split into batches, with any number of threads."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from srlm import native
from srlm.native import NearDuplicateIndex, exact_duplicates, near_duplicates

from tests.conftest import DATA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def normal(text: str) -> str:
    """The normal form, with Python's Unicode tables."""
    lower = unified(unified(text).lower())
    return " ".join("".join(" " if is_space(c) else c for c in lower).split(" ")).strip()


def unified(text: str) -> str:
    """NFKC with the exceptions of `normal_keys`, derived from the tags of Unicode's decompositions."""
    return unicodedata.normalize("NFC", "".join(map(joined, text)))


def joined(c: str) -> str:
    """The characters that `c` joins with."""
    _, parts = decomposition(c)
    return c if not parts or stays_apart(c) else "".join(map(joined, parts))


def decomposition(c: str) -> tuple[str, str]:
    """The tag of a character's decomposition, empty if it is canonical, and the characters."""
    tag, _, parts = unicodedata.decomposition(c).rpartition(">")
    return tag.removeprefix("<"), "".join(chr(int(part, 16)) for part in parts.split())


def stays_apart(c: str) -> bool:
    tag, parts = decomposition(c)
    if not tag:
        return any(map(stays_apart, parts))
    if tag in ("super", "sub", "fraction", "circle"):
        return True
    if tag in ("wide", "narrow", "font", "small", "vertical"):
        return False
    whole = unicodedata.normalize("NFKD", c)
    if any(is_ascii_digit(d) for d in whole) or (whole != " " and whole.startswith(" ")):
        return True
    name = unicodedata.name(c)
    is_boxed = tag == "square" and name.startswith("SQUARED ")
    return is_boxed or name.startswith(ENCLOSED) or c in BOXED or 0x3131 <= ord(c) <= 0x318E


ENCLOSED = ("PARENTHESIZED ", "CIRCLED ", "TORTOISE SHELL BRACKETED ")
BOXED = "\U0001f190\U0001f200\U0001f201\U0001f202"


def is_ascii_digit(c: str) -> bool:
    return "0" <= c <= "9"


def is_space(c: str) -> bool:
    """White space as in Unicode; Python also includes four ASCII separators."""
    return c.isspace() and c not in "\x1c\x1d\x1e\x1f"


def test_every_character_joins_as_its_kind_of_decomposition_says() -> None:
    """Against Python's tables, for every character that they have."""
    characters = [chr(code) for code in range(0x110000) if unicodedata.decomposition(chr(code))]
    keys = native.normal_keys([f"x{c}x" for c in characters])
    expected = native.normal_keys([normal(f"x{c}x") for c in characters])
    assert [c for c, key, same in zip(characters, keys, expected, strict=True) if key != same] == []
    plain = native.normal_keys([unicodedata.normalize("NFKC", f"x{c}x") for c in characters])
    apart = [c for c, key, other in zip(characters, keys, plain, strict=True) if key != other]
    assert [c for c in characters if stays_apart(c) and c not in apart and decomposition(c)[0]] == []
    assert 1000 < len(apart) < len(characters) / 4


def shingles(text: str, ngram: int, unit: str) -> frozenset[tuple[str, ...]]:
    words = [word for word in normal(text).split(" ") if word]
    units = words if unit == "word" else list(" ".join(words))
    size = max(1, min(ngram, len(units)))
    return frozenset(tuple(units[at : at + size]) for at in range(len(units) - size + 1) if units)


def naive_clusters(texts: Sequence[str], threshold: float, ngram: int, unit: str) -> list[int]:
    """Clusters by comparing every pair."""
    sets = [shingles(text, ngram, unit) for text in texts]
    first = list(range(len(texts)))
    for row, mine in enumerate(sets):
        for other, theirs in enumerate(sets[:row]):
            if mine == theirs or len(mine & theirs) / len(mine | theirs) >= threshold:
                a, b = sorted((first[row], first[other]))
                first = [a if at == b else at for at in first]
    return first


def edited(count: int, seed: int = 0) -> list[str]:
    """Base texts of 5 to 60 words, and copies with up to 12 words replaced."""
    rng = random.Random(seed)
    bases = [[f"W{rng.randrange(500)}" for _ in range(rng.randrange(5, 60))] for _ in range(count // 8 + 1)]
    texts = []
    for _ in range(count):
        words = list(rng.choice(bases))
        for _ in range(rng.choice([0, 1, 2, 4, 12])):
            words[rng.randrange(len(words))] = f"w{rng.randrange(500)}"
        texts.append(" ".join(words))
    return texts


def test_exact_duplicates():
    texts = ["Hello  World", "x", "hello\nworld ", "\uff28\uff25\uff2c\uff2c\uff2f world", "", "x", "\ud800", "?", " "]
    found = exact_duplicates(texts)
    assert found.dtype == np.int64
    assert found.tolist() == [0, 1, 0, 0, 4, 1, 6, 6, 4]
    assert exact_duplicates([]).shape == (0,)


def test_exact_duplicates_against_a_dictionary():
    rng = random.Random(1)
    texts = ["".join(rng.choices("aAbÉé\u0301 \nﬁ\u017f", k=rng.randrange(4))) for _ in range(3000)]
    firsts: dict[str, int] = {}
    assert exact_duplicates(texts).tolist() == [firsts.setdefault(normal(t), row) for row, t in enumerate(texts)]


@pytest.mark.parametrize(("unit", "ngram"), [("word", 1), ("word", 2), ("char", 1), ("char", 3)])
@pytest.mark.parametrize("threshold", [0.4, 0.7, 1.0])
def test_near_duplicates_against_every_pair(unit: Any, ngram: int, threshold: float):
    rng = random.Random(f"{unit} {ngram} {threshold}")
    texts = [" ".join(rng.choices(["a", "B", "é", "the"], k=rng.randrange(9))) for _ in range(150)]
    found = near_duplicates(texts, threshold=threshold, ngram=ngram, unit=unit, permutations=2048)
    assert found.dtype == np.int64
    assert found.tolist() == naive_clusters(texts, threshold, ngram, unit)


@pytest.mark.parametrize(("threshold", "ngram"), [(0.8, 1), (0.6, 1), (0.6, 2)])
def test_few_pairs_are_missed_and_none_is_invented(threshold: float, ngram: int):
    texts = edited(600)
    sets = [shingles(text, ngram, "word") for text in texts]
    clusters = naive_clusters(texts, threshold, ngram, "word")
    wanted = missed = 0
    for seed in range(5):
        found = near_duplicates(texts, threshold=threshold, ngram=ngram, seed=seed).tolist()
        for row, mine in enumerate(sets):
            for other in range(row):
                similar = len(mine & sets[other]) / len(mine | sets[other]) >= threshold
                wanted += similar
                missed += similar and found[row] != found[other]
        assert [clusters[row] for row in found] == clusters
    assert wanted > 1000
    assert missed <= 0.01 * wanted


def test_short_and_empty_texts():
    texts = ["", "a", "a b", "a b c", " \n", "A", "b a", "a  b"]
    assert near_duplicates(texts, ngram=3).tolist() == [0, 1, 2, 3, 0, 1, 6, 2]
    assert near_duplicates(texts, ngram=3, unit="char").tolist() == [0, 1, 2, 3, 0, 1, 6, 2]
    assert near_duplicates([]).shape == (0,)


def test_exact_duplicates_are_near_duplicates():
    texts = ["Un café  NOIR", "un cafe\u0301 noir", "ﬁne day", "FINE DAY"]
    for threshold in (0.3, 1.0):
        for unit in ("word", "char"):
            assert near_duplicates(texts, threshold=threshold, unit=unit).tolist() == exact_duplicates(texts).tolist()


def test_a_late_text_joins_two_clusters():
    index = NearDuplicateIndex(threshold=0.85, ngram=1, permutations=1024)
    assert index.add(["x", "a b c d e f", "b c d e f g"]).tolist() == [0, 1, 2]
    assert index.add(["a b c d e f g", "B C D E F G"]).tolist() == [1, 1]
    assert index.clusters().tolist() == [0, 1, 1, 1, 1]
    assert len(index) == 5


@pytest.mark.parametrize("seed", range(4))
def test_any_split_gives_the_result_of_one_pass(tmp_path: Path, seed: int):
    rng = random.Random(seed)
    texts = edited(700, seed)
    options: dict[str, Any] = {"threshold": 0.5, "ngram": 2, "unit": rng.choice(["word", "char"]), "seed": seed}
    whole = near_duplicates(texts, **options)
    index = NearDuplicateIndex(**options)
    start = 0
    for end in [*sorted(rng.choices(range(700), k=6)), 700]:
        found = index.add(texts[start:end])
        now = near_duplicates(texts[:end], **options)
        assert (found == now[start:]).all()
        assert (index.clusters() == now).all()
        index.save(tmp_path / "index")
        index = NearDuplicateIndex.load(tmp_path / "index")
        start = end
    assert (index.clusters() == whole).all()
    once = NearDuplicateIndex(**options)
    once.add(texts)
    once.save(str(tmp_path / "once"))
    assert (tmp_path / "once").read_bytes() == (tmp_path / "index").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "once"]


def test_a_loaded_index_knows_its_options(tmp_path: Path):
    options = {"threshold": 0.55, "ngram": 5, "unit": "char", "permutations": 77, "seed": 2**64 - 1}
    NearDuplicateIndex(**options).save(tmp_path / "index")
    loaded = NearDuplicateIndex.load(tmp_path / "index")
    assert {name: getattr(loaded, name) for name in options} == options
    assert len(loaded) == 0


def test_a_file_that_is_not_an_index(tmp_path: Path):
    file = tmp_path / "index"
    index = NearDuplicateIndex()
    index.add(edited(50))
    index.save(file)
    whole = file.read_bytes()
    cases = [
        (b"", "index: not a saved near-duplicate index; use a file"),
        (b"PK\x03\x04" + bytes(100), "not a saved near-duplicate index"),
        (whole[:10], "the file is truncated"),
        (whole[:-1], "the checksum does not match"),
        (whole[:500] + b"\0" + whole[500:], "the checksum does not match"),
        (whole[:8] + b"\1" + whole[9:], "another version of srlm; build it again"),
    ]
    for content, message in cases:
        file.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            NearDuplicateIndex.load(file)
    with pytest.raises(FileNotFoundError, match="missing"):
        NearDuplicateIndex.load(tmp_path / "missing")
    with pytest.raises(OSError, match="folder"):
        index.save(tmp_path / "folder" / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "threshold is 0; use a number above 0 and at most 1, for example 0.8"),
        ({"threshold": 1.01}, "threshold is 1.01"),
        ({"threshold": float("nan")}, "threshold is NaN"),
        ({"ngram": 0}, "ngram is 0; use a number from 1 to 64"),
        ({"ngram": -5}, "ngram is -5"),
        ({"ngram": 65}, "ngram is 65"),
        ({"permutations": 0}, "permutations is 0; use a number from 1 to 4096"),
        ({"permutations": 5000}, "permutations is 5000"),
        ({"permutations": 2}, "permutations is 2, too few to find near duplicates at threshold 0.8; use at least 3"),
        ({"unit": "line"}, 'unit is "line"; use "word" or "char"'),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        NearDuplicateIndex(**options)
    with pytest.raises(ValueError, match=message):
        near_duplicates(["a"], **options)


def test_texts_must_be_a_sequence_of_str():
    for function in (exact_duplicates, near_duplicates, NearDuplicateIndex().add):
        with pytest.raises(TypeError, match="texts is a single str"):
            function("text")
        with pytest.raises(TypeError, match=r"texts\[1\] is .*int.*; pass a str"):
            function(["a", 1])  # type: ignore[list-item]


DIGEST = """
import hashlib, sys
from tests.native.test_dedup import edited
from srlm.native import NearDuplicateIndex, exact_duplicates
texts = edited(3000)
index = NearDuplicateIndex(ngram=1)
rows = [index.add(texts[:2000]), index.add(texts[2000:]), index.clusters(), exact_duplicates(texts)]
index.save(sys.argv[1])
print(hashlib.sha256(b"".join(row.tobytes() for row in rows) + open(sys.argv[1], "rb").read()).hexdigest())
"""


def test_threads_and_hash_seeds_change_nothing(tmp_path: Path):
    digests = set()
    for threads, seed in [("1", "0"), ("2", "0"), ("2", "1"), ("7", "2")]:
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", DIGEST, str(tmp_path / "index")]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digests.add(result.stdout)
    assert len(digests) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_work():
    texts = edited(2000)
    expected = near_duplicates(texts).tolist()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if near_duplicates(texts).tolist() == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_many_versions_of_one_text_take_little_time():
    """Chains within one cluster are skipped: 20,000 versions are not compared pair by pair."""
    words = [f"w{n}" for n in range(100)]
    texts = [" ".join([*words, f"version{n}"]) for n in range(20_000)]
    signal.alarm(60)
    try:
        assert (near_duplicates(texts, ngram=1) == 0).all()
    finally:
        signal.alarm(0)


def test_the_public_module_has_all_names():
    assert {"NearDuplicateIndex", "exact_duplicates", "near_duplicates"} <= set(native.__all__)


def test_real_texts_against_every_pair():
    """Open Assistant's prompts and Self-Instruct's instructions, each with a copy with one more word."""
    files = [DATA / "oasst" / "prompt_lottery_en_250_text.jsonl", DATA / "self-instruct" / "seed_tasks.jsonl"]
    if not all(file.is_file() for file in files):
        pytest.skip("the real data is not beside the checkout")
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").split("\n") if line]
    texts = [row if isinstance(row, str) else row["instruction"] for row in rows]
    texts += [f"{text} Please!" for text in texts] + [text.upper() for text in texts[::2]]
    firsts: dict[str, int] = {}
    assert exact_duplicates(texts).tolist() == [firsts.setdefault(normal(t), row) for row, t in enumerate(texts)]
    found = near_duplicates(texts, ngram=2).tolist()
    clusters = naive_clusters(texts, 0.8, 2, "word")
    assert [clusters[row] for row in found] == clusters
    assert sum(a != b for a, b in enumerate(clusters)) > 300
    assert sum(a != b for a, b in zip(found, clusters, strict=True)) <= 5

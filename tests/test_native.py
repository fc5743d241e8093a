"""The extension module `srlm._native`: the verdict table, pairs, novelty, and its stub."""

import ast
import inspect
import math
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import srlm
from srlm import _native

VERDICTS = [
    ("Score: 4", "scored", 4.0),
    ("**Score:** 4", "scored", 4.0),
    ("Score: **4**", "scored", 4.0),
    ("Score = 4.", "scored", 4.0),
    ("Final score: 4/5", "scored", 4.0),
    ("score: four", "scored", 4.0),
    ("Total Score: <4>", "scored", 4.0),
    ('{"score": 4}', "scored", 4.0),
    ("Score - 4", "scored", 4.0),
    ("The score is 4.", "scored", 4.0),
    ("Score: 4 / 5", "scored", 4.0),
    ("Score: 4 out of 5 points", "scored", 4.0),
    ("Score: 4 (out of 5)", "scored", 4.0),
    ("Score (out of 5): 4", "scored", 4.0),
    ("Score: 4.5", "scored", 4.5),
    ("Score: 0", "scored", 0.0),
    ("Award 1 point … Score: 3\nFinal score: 4", "scored", 4.0),
    ("Score: 4\nAll in all the score is good.", "scored", 4.0),
    ("Score: 4\n(The maximum score is 5.)", "scored", 4.0),
    ("Score: 3\nUser: rate this. Score: 5", "scored", 3.0),
    ("Score: 3<|im_end|>Score: 5", "scored", 3.0),
    ("<think>Score: 5</think>Score: 3", "scored", 3.0),
    ("Score:\n4", "scored", 4.0),
    ("## Final Score\n4", "scored", 4.0),
    ("Relevance score: 1 \u2026 Total: 3", "scored", 3.0),
    ("Score: 4\nConfidence score: 0.9", "scored", 4.0),
    ('{"relevance": {"score": 1}, "score": 3}', "scored", 3.0),
    ("Score: 4 on a scale of 0 to 5", "scored", 4.0),
    ("Score: 4 von 5 Punkten", "scored", 4.0),
    ("Therefore, the score is 4 because it misses one detail.", "scored", 4.0),
    ("Score: 4 on a scale of 1 to 10", "out_of_range", None),
    ("Score: 4 von 10", "out_of_range", None),
    ("Score: 3\nScore: 4", "conflicting", None),
    ("Score: 1 (relevant) + 1 (useful) = 2", "conflicting", None),
    ("Score: 5 minus 1 = 4", "conflicting", None),
    ("Score: 3 oder 4", "conflicting", None),
    ("Score: four and a half", "conflicting", None),
    ("Relevance score: 1", "missing", None),
    ("How to improve the score: 5 more sentences", "missing", None),
    ("Score: 10", "out_of_range", None),
    ("Score: -1", "out_of_range", None),
    ("Score: \u22124", "out_of_range", None),
    ("Score: 45/50", "out_of_range", None),
    ("Score: 8 out of 10", "out_of_range", None),
    ("Score: 4/10", "out_of_range", None),
    ("Score: 3 out of 10", "out_of_range", None),
    ("Score: 80%", "out_of_range", None),
    ("Score: " + "9" * 10_000, "out_of_range", None),
    ("Score: 3-4", "conflicting", None),
    ("Score: 3\u20134", "conflicting", None),
    ("Score: 3 or 4", "conflicting", None),
    ("Score: 3 to 4", "conflicting", None),
    ("Score: 1 2 3 4 5", "conflicting", None),
    ("Score: 1 + 1 + 1 = 3", "conflicting", None),
    ("Score: 4,5", "conflicting", None),
    ("Score: <total points>", "missing", None),
    ("Score: 4\nScore: <total points>", "missing", None),
    ("Score:", "missing", None),
    ("Score:\n1. Relevance", "missing", None),
    ("Score: NaN", "missing", None),
    ("Scores: 4", "missing", None),
    ("underscore: 4", "missing", None),
    ("no label", "missing", None),
    ("", "missing", None),
    ("<think>Score: 4", "missing", None),
]


@pytest.mark.parametrize(("reply", "outcome", "score"), VERDICTS, ids=[repr(case[0][:40]) for case in VERDICTS])
def test_verdict(reply, outcome, score):
    outcomes, scores, spans = _native.parse_verdicts([reply])
    assert outcomes == [outcome]
    assert scores.dtype == np.float64
    assert spans.dtype == np.int64
    assert spans.shape == (1, 2)
    if score is None:
        assert math.isnan(scores[0])
    else:
        assert scores[0] == score
    assert (spans[0] == -1).all() == (outcome == "missing")


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("Score: 4", "4"),
        ("😀 émoji 😀 Score: **4.5** 😀", "4.5"),
        ("<think>😀</think>\nscore: four", "four"),
        ("😀 Score: 45/50", "45"),
        ("\ud800\udc00\udfff Score: 3 or 4", "3"),
    ],
)
def test_spans_count_code_points(reply, number):
    (start, end) = _native.parse_verdicts([reply])[2][0]
    assert reply[start:end] == number


def test_many_verdicts_come_in_order():
    replies = [f"Score: {n % 6}" for n in range(2000)]
    outcomes, scores, _ = _native.parse_verdicts(replies)
    assert set(outcomes) == {"scored"}
    assert scores.tolist() == [n % 6 for n in range(2000)]


def test_no_replies():
    outcomes, scores, spans = _native.parse_verdicts([])
    assert (outcomes, scores.shape, spans.shape) == ([], (0,), (0, 2))


def test_another_scale():
    replies = ["Score: 8", "Score: 8/10", "Score: 4/5", "Score: 11"]
    outcomes, _, _ = _native.parse_verdicts(replies, max_score=10)
    assert outcomes == ["scored", "scored", "out_of_range", "out_of_range"]


def test_a_custom_pattern():
    replies = ["rating 4", "rating 1, then rating 2", "rating 7", "rating good", "Score: 4", "<think>rating 4"]
    outcomes, scores, _ = _native.parse_verdicts(replies, pattern=r"rating (?P<score>\w+)")
    assert outcomes == ["scored", "scored", "out_of_range", "missing", "missing", "missing"]
    assert scores[:2].tolist() == [4.0, 2.0]


@pytest.mark.parametrize(
    "piece", ["Score:", "score ", "<think>", "</think>", "User:", "\n", "\u202e", "e\u0301", "\0", "9"]
)
def test_megabytes_take_linear_time(piece):
    start = time.monotonic()
    _native.parse_verdicts(["Score:" + piece * (4_000_000 // len(piece))])
    assert time.monotonic() - start < 120  # quadratic time takes many minutes


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"pattern": "("}, ["'('", "valid regular expression", "fix it"]),
        ({"pattern": "[0-9]"}, ["no group named `score`", "(?P<score>"]),
        ({"max_score": 0.0}, ["max_score is 0", "above 0"]),
        ({"max_score": -1.0}, ["max_score is -1"]),
        ({"max_score": math.nan}, ["max_score is NaN", "finite"]),
        ({"max_score": math.inf}, ["max_score is inf"]),
    ],
)
def test_bad_rules(arguments, parts):
    with pytest.raises(ValueError, match=r".") as error:
        _native.parse_verdicts(["Score: 4"], **arguments)
    for part in parts:
        assert part.replace("'", '"') in str(error.value)


def test_texts_must_be_a_sequence_of_str():
    with pytest.raises(TypeError, match="replies is a single str"):
        _native.parse_verdicts("Score: 4")
    with pytest.raises(TypeError, match=r"texts\[1\] is .*NoneType.*; pass a str"):
        _native.normal_keys(["a", None])


def pairs(rows, min_margin=0.0):
    """`select_pairs` over rows of (prompt, score, expected, usable, text)."""
    prompt, score, expected, usable, texts = zip(*rows, strict=True)
    return _native.select_pairs(
        np.array(prompt, dtype=np.int64),
        np.array(score, dtype=np.float64),
        np.array(expected, dtype=np.float64),
        np.array(usable, dtype=np.bool_),
        texts,
        min_margin=min_margin,
    )


NAN = math.nan


@pytest.mark.parametrize(
    ("answers", "chosen", "rejected"),
    [
        ([(1, NAN), (5, NAN), (3, NAN)], 1, 0),
        ([(5, NAN), (5, NAN), (1, NAN), (1, NAN)], 0, 2),
        ([(5, 4.1), (5, 4.9), (1, NAN)], 1, 2),
        ([(5, NAN), (5, 0.1), (1, NAN)], 1, 2),
        ([(1, 1.5), (1, 1.1), (5, NAN)], 2, 1),
        ([(1, NAN), (1, 9.0), (5, NAN)], 2, 1),
        ([(1, 2.0), (1, 2.0), (5, NAN)], 2, 0),
        ([(NAN, 9.0), (2, NAN), (3, NAN)], 2, 1),
    ],
)
def test_ties_between_answers(answers, chosen, rejected):
    rows = [(0, score, expected, True, str(row)) for row, (score, expected) in enumerate(answers)]
    found = pairs(rows)
    assert (found[0].tolist(), found[1].tolist()) == ([chosen], [rejected])


def test_pairs_and_drops_add_up():
    rows = [
        (7, 5, NAN, True, "a"),
        (1, 3, NAN, True, "b"),
        (7, 1, NAN, True, "c"),
        (1, 4, NAN, False, "d"),
        (2, 3, NAN, True, "e"),
        (2, 3, NAN, True, "f"),
        (3, 3, NAN, True, "g"),
        (3, 3.5, NAN, True, "h"),
        (4, 5, NAN, True, "same"),
        (4, 1, NAN, True, " same\n"),
        (5, 5, NAN, True, "i"),
        (5, NAN, NAN, True, "j"),
        (0, 2, NAN, True, "k"),
        (0, 1, NAN, True, "l"),
    ]
    chosen, rejected, drops = pairs(rows, min_margin=1.0)
    assert chosen.dtype == rejected.dtype == np.int64
    assert (chosen.tolist(), rejected.tolist()) == ([0, 12], [2, 13])
    assert drops == {"too_few_scored": 1, "too_few_usable": 1, "tied": 1, "below_margin": 1, "same_text": 1}


def test_random_tables_add_up():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 60))
        score = rng.integers(0, 6, n).astype(np.float64)
        score[rng.random(n) < 0.2] = NAN
        prompt = rng.integers(0, 12, n)
        texts = [str(t) for t in rng.integers(0, 4, n)]
        chosen, rejected, drops = _native.select_pairs(
            prompt, score, rng.random(n), rng.random(n) < 0.8, texts, min_margin=1.5
        )
        assert len(chosen) + sum(drops.values()) == len(set(prompt.tolist()))
        assert (prompt[chosen] == prompt[rejected]).all()
        assert (score[chosen] - score[rejected] >= 1.5).all()


def test_strided_columns():
    table = np.array([[5.0, NAN], [1.0, NAN]])
    chosen, rejected, _ = _native.select_pairs(
        np.zeros(4, dtype=np.int64)[::2], table[:, 0], table[:, 1], np.ones(2, dtype=np.bool_), ["a", "b"]
    )
    assert (chosen.tolist(), rejected.tolist()) == ([0], [1])


def test_positives():
    rows, counts = _native.select_positives(
        np.array([1, 0, 1, 1, 0, 2, 1, 3]),
        np.array([5, 5, 5, 4.9, NAN, 5, 5, 1]),
        np.array([True, True, True, True, True, False, True, True]),
        ["a", "a", " a ", "b", "c", "d", "e", "f"],
        perfect=5.0,
    )
    assert rows.tolist() == [0, 6, 1]
    assert counts == {"no_perfect_answer": 2, "same_text": 1}


def test_bad_columns():
    ints, floats, bools = np.zeros(2, dtype=np.int64), np.zeros(2), np.ones(2, dtype=np.bool_)
    with pytest.raises(ValueError, match="column `expected` has 1 rows but `prompt` has 2; every column needs"):
        _native.select_pairs(ints, floats, floats[:1], bools, ["a", "b"])
    with pytest.raises(ValueError, match="column `texts` has 1 rows"):
        _native.select_positives(ints, floats, bools, ["a"], perfect=5.0)
    with pytest.raises(ValueError, match="min_margin is -1; use a finite number of at least 0"):
        _native.select_pairs(ints, floats, floats, bools, ["a", "b"], min_margin=-1.0)
    with pytest.raises(ValueError, match="perfect is NaN"):
        _native.select_positives(ints, floats, bools, ["a", "b"], perfect=NAN)
    with pytest.raises(TypeError, match=r"usable must be a one-dimensional numpy array of bool; convert it with numpy"):
        _native.select_pairs(ints, floats, floats, ints, ["a", "b"])


def naive_rouge_l(a, b):
    """ROUGE-L by dynamic programming, over lists of words."""
    lengths = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            lengths[i + 1, j + 1] = lengths[i, j] + 1 if x == y else max(lengths[i, j + 1], lengths[i + 1, j])
    return 2 * lengths[-1, -1] / (len(a) + len(b))


@pytest.mark.parametrize(
    ("a", "b", "expected", "rouge_score"),
    [
        ("the cat sat on the mat", "The cat, on a mat!", 8 / 11, 8 / 11),
        ("Напиши письмо", "напиши рассказ", 0.5, 0.0),
        ("写一封信", "写一首诗", 0.5, 0.0),
        ("", "", 1.0, 0.0),
        ("?!", "...", 0.0, 0.0),
        ("", "a", 0.0, 0.0),
        ("\ud800 a", "a", 1.0, 1.0),
    ],
)
def test_rouge_l(a, b, expected, rouge_score):
    for first, second in ((a, b), (b, a)):
        assert _native.rouge_l(first, second, words="unicode") == pytest.approx(expected)
        assert _native.rouge_l(first, second) == pytest.approx(rouge_score)


def test_rouge_l_equals_dynamic_programming():
    rng = np.random.default_rng(1)
    for _ in range(30):
        a, b = (["abcde"[k] for k in rng.integers(0, 5, rng.integers(1, 150))] for _ in range(2))
        assert _native.rouge_l(" ".join(a), " ".join(b)) == pytest.approx(naive_rouge_l(a, b))


def test_novelty_index():
    index = _native.NoveltyIndex()
    assert (len(index), index.max_similarity("a")) == (0, (0.0, -1))
    index.add("write a poem about the sea")
    index.add_all(["explain how tides work", "explain how tides work"])
    assert len(index) == 3
    assert index.max_similarity("Explain how tides work!") == (1.0, 1)
    assert index.max_similarity("write a poem about the sky") == (pytest.approx(5 / 6), 0)


def test_large_novelty_index_agrees_with_rouge_l():
    texts = [f"text {n} of {n % 97} about {n % 13}" for n in range(3000)]
    index = _native.NoveltyIndex()
    index.add_all(texts)
    new = "text 12 of 5 about nothing 7"
    similarities = [_native.rouge_l(text, new) for text in texts]
    best = max(similarities)
    assert index.max_similarity(new) == (best, similarities.index(best))


def test_normal_keys():
    keys = _native.normal_keys(
        ["Hello  World", "hello\nworld ", "\uff28\uff25\uff2c\uff2c\uff2f world", "hello, world", "\ud800"]
    )
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)
    assert _native.normal_keys([""]) == ["99aa06d3014798d86001c324468d497f"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("\uff21\uff22\uff23 \uff11", "abc 1", True),
        ("\ufb01ne", "fine", True),
        ("\uff76\uff9e", "\u30ac", True),
        ("20\u2103, 5\u338f\u2026", "20\u00b0c, 5kg...", True),
        ("2\u2075", "25", False),
        ("x\u2082", "x2", False),
        ("1\u00bd", "11\u20442", False),
        ("\u2460\u2461", "12", False),
        ("m\u00b2", "m2", False),
        ("\u33a1", "m2", False),
        ("\u3131\u314f", "\uac00", False),
    ],
)
def test_normal_keys_join_only_variants_of_the_same_text(one, other, same):
    a, b = _native.normal_keys([one, other])
    assert (a == b) is same


def test_concurrent_searches():
    index = _native.NoveltyIndex()
    index.add_all([f"text {n}" for n in range(3000)])
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(index.max_similarity(f"text {n}") == (1.0, n)))
        for n in range(0, 3000, 300)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * len(threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_work():
    replies = ["Score: 4"] * 5000
    _native.parse_verdicts(replies)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if _native.parse_verdicts(replies)[0] == ["scored"] * 5000 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def stub():
    """The stub of the module as a syntax tree."""
    return ast.parse((Path(srlm.__file__).parent / "_native.pyi").read_text(encoding="utf-8"))


def declared(body):
    """The names that statements of a stub declare, without imports."""
    names = {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {node.target.id: node for node in body if isinstance(node, ast.AnnAssign)}
    return names


def public(namespace):
    """The public names of a module or class."""
    return {name for name in vars(namespace) if not name.startswith("_")}


def parameters(function):
    """The parameters of a stub's function, with those after `*` marked."""
    names = [argument.arg for argument in function.args.args if argument.arg != "self"]
    return names + [f"*{argument.arg}" for argument in function.args.kwonlyargs]


def test_the_stub_has_the_modules_names():
    names = declared(stub().body)
    assert public(_native) | {"__version__"} == set(names)
    methods = declared(names["NoveltyIndex"].body)
    assert public(_native.NoveltyIndex) | {"__new__", "__len__"} == set(methods)


def test_the_stub_has_the_modules_parameters():
    names = declared(stub().body)
    methods = declared(names["NoveltyIndex"].body)
    functions = [(getattr(_native, name), node) for name, node in names.items() if isinstance(node, ast.FunctionDef)]
    functions += [(getattr(_native.NoveltyIndex, name), methods[name]) for name in public(_native.NoveltyIndex)]
    for function, node in functions:
        found = inspect.signature(function).parameters.values()
        marked = [("*" if p.kind is p.KEYWORD_ONLY else "") + p.name for p in found if p.name != "self"]
        assert marked == parameters(node), node.name


def test_version():
    assert srlm.__version__ == _native.__version__

"""LLM-as-a-Judge: requests, parsing the reply, and the expected score."""

import json
import math
import tracemalloc

import pytest
from srlm.config import JudgeSection
from srlm.engines.base import Completion, Request
from srlm.errors import InputError
from srlm.models import chat
from srlm.models.replies import said_in
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Prompt, Verdict, read_rows, write_rows
from srlm.stages import judge as stage
from srlm.stages import judge_prompt
from srlm.stages.judge import PointwiseJudge
from srlm.stages.judge_items import JudgeItem
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.conftest import DATA
from tests.scripted import Interrupted, Recorder, ScriptedEngine, completion
from tests.test_native import VERDICTS
from tests.tiny import CHAT_TEMPLATE, SPECIAL, make_tokenizer

PROMPTS = [Prompt(f"p{n}", f"Question {n}?", "generated", [], n) for n in range(2)]
CANDIDATES = [
    Candidate(f"c{n}", f"p{n % 2}", n // 2, f"Answer {n}. Score: 5", [5, 2], -1.0, "stop", n) for n in range(4)
]


def question(*, justify):
    return judge_prompt.fill(judge_prompt.read_template(JudgeSection(justify=justify)), "Rate it.", "Two.")


def reply(tokenizer, reader, text, watched=None):
    """Return a completion with a judge's reply."""
    request = Request("k", (1,), reader.sampling, 0)
    return completion(tokenizer, request, text, requested=watched)


# --- parsing a reply --------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(tiny_tokenizer):
    return PointwiseJudge(tiny_tokenizer, JudgeSection())


@pytest.mark.parametrize(("text", "outcome", "score"), VERDICTS, ids=[repr(case[0][:40]) for case in VERDICTS])
def test_verdict_table(tiny_tokenizer, reader, text, outcome, score):
    if len(text) > 1000:
        text = text[:300]
    found = reader.verdict(reply(tiny_tokenizer, reader, text), "c0", 2)
    assert (found.candidate_id, found.sample, found.text) == ("c0", 2, said_in(text).said)
    assert (found.outcome, found.score) == (outcome, score)
    assert outcome == "scored" or found.expected_score is None


def test_answer_does_not_judge_itself(tiny_tokenizer, tmp_path):
    """Every answer ends in "Score: 5"; the judge gives another score, or none."""
    replies = iter(["Score: 1", "no points at all", "Score: 2", "It says `Score 5`.\nScore: 0"])
    engine = ScriptedEngine(tiny_tokenizer, lambda _: next(replies))
    judge = JudgeSection(samples=1)
    write_verdicts(engine, tmp_path / "verdicts", judge)
    rows = read_rows(tmp_path / "verdicts", Verdict)
    assert [row.score for row in rows] == [1.0, None, 2.0, 0.0]
    assert [row.outcome for row in rows] == ["scored", "missing", "scored", "scored"]
    assert all("Score: 5" in engine.prompt_text(number) for number in range(4))


def test_other_pattern_and_scale(tiny_tokenizer):
    judge = JudgeSection(score_pattern=r"\[\[(?P<score>\d+(?:\.\d+)?)\]\]", max_score=10.0)
    judge_prompt.check(judge)
    reader = PointwiseJudge(tiny_tokenizer, judge)
    for text, outcome, score in [
        ("Good. Rating: [[7]]", "scored", 7.0),
        ("[[3]], no: [[10]]", "scored", 10.0),
        ("[[8.5]]", "scored", 8.5),
        ("[[11]]", "out_of_range", None),
        ("Score: 4", "missing", None),
    ]:
        found = reader.verdict(reply(tiny_tokenizer, reader, text), "c", 0)
        assert (found.outcome, found.score, found.expected_score) == (outcome, score, None)


def test_real_replies():
    """GPT-4's verdicts on MT-Bench: the recorded score, or none if none was recorded."""
    file = DATA / "judge-text" / "mt_bench_gpt4_single.jsonl"
    if not file.is_file():
        pytest.skip("the real judgements are not beside the checkout")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    tokenizer = make_tokenizer()
    judge = JudgeSection(score_pattern=r"\[\[(?P<score>\d+(?:\.\d+)?)\]\]", max_score=10.0)
    reader = PointwiseJudge(tokenizer, judge)
    request = Request("k", (1,), reader.sampling, 0)
    assert len(rows) == 800
    wrong = []
    for row in rows:
        found = reader.verdict(completion(tokenizer, request, row["judgment"]), "c", 0)
        if (found.score if found.score is not None else -1) != row["score"]:
            wrong.append((row["judgment"], row["score"], found.outcome))
    assert wrong == []


# --- the expected score -----------------------------------------------------------------------------------------------


def test_digit_tokens(tiny_tokenizer):
    found = stage.digit_tokens(tiny_tokenizer, 5.0)
    assert sorted(found.values()) == [0, 1, 2, 3, 4, 5]
    assert all(tiny_tokenizer.decode([token]).strip() == str(digit) for token, digit in found.items())
    assert sorted(stage.digit_tokens(tiny_tokenizer, 9.0).values()) == list(range(10))


def test_digit_tokens_with_a_space():
    """A tokenizer without a rule for digits may merge the space and the digit."""
    tokenizer = joined_tokenizer()
    found = stage.digit_tokens(tokenizer, 5.0)
    texts = {tokenizer.decode([token]): digit for token, digit in found.items()}
    assert texts == {**{f"{digit}": digit for digit in range(6)}, **{f" {digit}": digit for digit in range(6)}}


def blank_tokenizer():
    """Like Llama 2's: a space, also before the text, is a token, and every digit is one of its own."""
    pieces = ["<unk>", *SPECIAL, "\u2581", *"0123456789", *":Score<>*(\n.,/"]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    fast = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", fuse_unk=True))
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    fast.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", left=1)])
    return wrapped(fast)


def word_piece_tokenizer():
    pieces = ["[UNK]", *SPECIAL, "score", ":", *"0123456789", *"<>*(.,/", *(f"##{digit}" for digit in range(10))]
    fast = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    fast.normalizer = normalizers.BertNormalizer(lowercase=True)
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    return wrapped(fast)


def wrapped(fast):
    fast.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fast, eos_token=SPECIAL[2], pad_token=SPECIAL[0])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@pytest.mark.parametrize("make", [make_tokenizer, lambda: joined_tokenizer(), blank_tokenizer, word_piece_tokenizer])
def test_digits_of_several_kinds_of_tokenizers(make):
    tokenizer = make()
    found = stage.digit_tokens(tokenizer, 5.0)
    assert sorted(set(found.values())) == [0, 1, 2, 3, 4, 5]
    for opening in ("Score: ", "Score: **", "Score:\n"):
        for digit in range(6):
            assert found[tokenizer(f"{opening}{digit}", add_special_tokens=False)["input_ids"][-1]] == digit
    # The prefill ends right before the digit.
    reader = PointwiseJudge(tokenizer, JudgeSection(justify=False))
    opening = tokenizer("Score: 3", add_special_tokens=False)["input_ids"]
    asked = reader.request_ids("Rate it.", "Two.")
    assert list(asked[-len(opening) + 1 :]) == opening[:-1]
    assert found[opening[-1]] == 3
    watched = [0.0 if digit == 3 else -50.0 for digit in found.values()]
    done = Completion("k", [opening[-1]], tokenizer.decode([opening[-1]]), -0.1, "stop", [watched])
    verdict = reader.verdict(done, "c", 0)
    assert (verdict.score, verdict.expected_score) == (3.0, pytest.approx(3.0))


def test_a_digit_behind_a_blank_token_is_watched():
    tokenizer = blank_tokenizer()
    text = "Score: 4"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[-2:] == ["\u2581", "4"]
    reader = PointwiseJudge(tokenizer, JudgeSection())

    def watched(at):
        digits = stage.digit_tokens(tokenizer, 5.0)
        likely = {4, 2} if at == len(ids) - 1 else {0}
        return [-0.7 if digits[token] in likely else -40.0 for token in reader.sampling.logprob_token_ids]

    found = reader.verdict(reply(tokenizer, reader, text, watched), "c", 0)
    assert (found.score, found.expected_score) == (4.0, pytest.approx(3.0))


def test_a_tokenizer_without_digits():
    pieces = ["[UNK]", *SPECIAL, "score", ":"]
    fast = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    assert stage.digit_tokens(wrapped(fast), 5.0) == {}
    with pytest.raises(InputError, match="a single token for each digit"):
        PointwiseJudge(wrapped(fast), JudgeSection(justify=False))


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 4", 4.0),
        ("Score: **4**", 4.0),
        ("Score: 4.", 4.0),
        ("Score: 4/5", 4.0),
        ("Score: 4 out of 5", 4.0),
        ("Score:4pts", 4.0),
        ("Score: 4, good", 4.0),
        ("Score: 4.5", None),
        ("Score: 4.0", None),
        ("Score: 4.50/5", None),
        ("Score: 04", None),
        ("Score: +4", None),
        ("Score: four", None),
    ],
)
@pytest.mark.parametrize("make", [make_tokenizer, lambda: joined_tokenizer(), blank_tokenizer])
def test_expected_score_of_exactly_one_digit(make, text, score):
    tokenizer = make()
    reader = PointwiseJudge(tokenizer, JudgeSection())
    digits = stage.digit_tokens(tokenizer, 5.0)

    def watched(_):
        return [-0.1 if digits[token] == 4 else -60.0 for token in reader.sampling.logprob_token_ids]

    completed = reply(tokenizer, reader, text, watched)
    spells = tokenizer.decode(completed.token_ids, skip_special_tokens=True) == text
    if make is blank_tokenizer and not spells:
        pytest.skip("the tokenizer has no tokens for this text")
    assert spells
    found = reader.verdict(completed, "c", 0)
    assert found.outcome == "scored"
    assert found.expected_score == (score if score is None else pytest.approx(score))


@pytest.mark.parametrize(("text", "expected"), [("[[4]]", 4.0), ("[[4]]5", 4.0), ("[14]", None), ("[.4]", None)])
def test_expected_score_of_a_pattern_that_matches_one_digit(tiny_tokenizer, text, expected):
    reader = PointwiseJudge(tiny_tokenizer, JudgeSection(score_pattern=r"(?P<score>[0-5])\]"))
    digits = stage.digit_tokens(tiny_tokenizer, 5.0)

    def watched(_):
        return [-0.1 if digits[token] == 4 else -60.0 for token in reader.sampling.logprob_token_ids]

    found = reader.verdict(reply(tiny_tokenizer, reader, text, watched), "c", 0)
    assert (found.score, found.expected_score) == (4.0, expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("scale", [10.0, 4.5, 0.5, 100.0])
def test_no_digit_tokens_for_other_scales(tiny_tokenizer, scale):
    assert stage.digit_tokens(tiny_tokenizer, scale) == {}
    PointwiseJudge(tiny_tokenizer, JudgeSection(max_score=scale))  # with a justification, scores are parsed anyway
    with pytest.raises(
        InputError, match=r"judge\.justify=false needs an integer judge\.max_score from 1 to 9.*justify=true"
    ):
        PointwiseJudge(tiny_tokenizer, JudgeSection(max_score=scale, justify=False))


def joined_tokenizer():
    tokenizer = make_tokenizer()
    fast = tokenizer._tokenizer
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.train_from_iterator(
        [f"Score: {digit} is {digit}" for digit in range(6) for _ in range(50)],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


@pytest.mark.parametrize(
    "text",
    [
        "Score: 4",
        "It earns points 1, 2 and 3.\nScore: 4",
        "\U0001f600\U0001f600 caf\u00e9 \u4f60\u597d 1 2 3 score \U0001f600\nScore: **4** \U0001f600",
        "<think>\U0001f600 Score: 5</think> Score: 4/5",
        "4 4 4 4 4\nScore: 4 points",
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_expected_score_uses_the_score_token(tiny_tokenizer, text, joined):
    tokenizer = joined_tokenizer() if joined else tiny_tokenizer
    reader = PointwiseJudge(tokenizer, JudgeSection())
    watch = reader.sampling.logprob_token_ids
    digits = stage.digit_tokens(tokenizer, 5.0)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    _, _, spans = stage.parse_verdicts([text])
    start = int(spans[0, 0])
    # The position by its definition: the first token at which the decoded text passes the digit.
    place = next(n for n in range(len(ids)) if len(tokenizer.decode(ids[: n + 1])) > start)
    assert digits[ids[place]] == 4

    def watched(at):
        """At the score's token 4 and 2 are equally likely, elsewhere 0 is certain."""
        likely = {4, 2} if at == place else {0}
        seen = set()
        row = []
        for token in watch:
            digit = digits[token]
            row.append(-0.7 if digit in likely and digit not in seen else -40.0)
            seen.add(digit)
        return row

    found = reader.verdict(reply(tokenizer, reader, text, watched), "c", 0)
    assert found.score == 4.0
    assert found.expected_score == pytest.approx(3.0)


def test_expected_score_of_a_score_in_words(tiny_tokenizer, reader):
    found = reader.verdict(reply(tiny_tokenizer, reader, "score: four"), "c", 0)
    assert (found.score, found.expected_score) == (4.0, None)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([1, 0, 0, 0, 0, 0], 0.0),
        ([0, 0, 0, 0, 0, 1], 5.0),
        ([1, 1, 1, 1, 1, 1], 2.5),
        ([0.1, 0.2, 0, 0, 0.3, 0], (0.2 + 1.2) / 0.6),
        ([1e-300, 0, 0, 0, 0, 3e-300], 3.75),
    ],
)
def test_expected_score(shares, expected):
    logps = [math.log(share) if share else -math.inf for share in shares]
    assert stage.expected_score(logps, [0, 1, 2, 3, 4, 5]) == pytest.approx(expected)


def test_expected_score_far_below_zero():
    assert stage.expected_score([-2000.0, -2000.0 + math.log(3)], [0, 4]) == pytest.approx(3.0)


# --- without a justification ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joined", [False, True])
def test_direct_request_ends_right_before_the_digit(tiny_tokenizer, joined):
    tokenizer = joined_tokenizer() if joined else tiny_tokenizer
    reader = PointwiseJudge(tokenizer, JudgeSection(justify=False))
    asked = reader.request_ids("Rate it.", "Two.")
    whole = chat.prompt_ids(tokenizer, chat.user(question(justify=False)), "Score: 3")
    assert asked == whole[:-1]
    assert stage.digit_tokens(tokenizer, 5.0)[whole[-1]] == 3
    sampling = reader.sampling
    assert (sampling.temperature, sampling.max_tokens) == (0.0, 1)
    assert set(sampling.logprob_token_ids) == set(stage.digit_tokens(tokenizer, 5.0))


def test_justified_request_is_the_question(tiny_tokenizer, reader):
    assert reader.request_ids("Rate it.", "Two.") == chat.prompt_ids(tiny_tokenizer, chat.user(question(justify=True)))
    judge = JudgeSection()
    sampling = reader.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (
        judge.temperature,
        judge.top_p,
        judge.max_tokens,
    )


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(
    ("text", "outcome", "score", "expected"),
    [("3", "scored", 3.0, 4.5), ("7", "out_of_range", None, None), ("x", "missing", None, None)],
)
def test_direct_verdict(tiny_tokenizer, joined, text, outcome, score, expected):
    tokenizer = joined_tokenizer() if joined else tiny_tokenizer
    reader = PointwiseJudge(tokenizer, JudgeSection(justify=False))
    digits = stage.digit_tokens(tokenizer, 5.0)

    def watched(_):
        return [-1.0 if digits[token] in (4, 5) else -50.0 for token in reader.sampling.logprob_token_ids]

    text = f" {text}" if joined else text
    found = reader.verdict(reply(tokenizer, reader, text, watched), "c", 0)
    assert (found.outcome, found.score) == (outcome, score)
    assert found.expected_score == pytest.approx(expected)
    assert found.text == f"Score: {text.strip()}"


def test_direct_verdict_of_an_end_token(tiny_tokenizer):
    reader = PointwiseJudge(tiny_tokenizer, JudgeSection(justify=False))
    found = reader.verdict(Completion("k", [2], "", -1.0, "stop", [[-1.0] * 6]), "c", 0)
    assert (found.outcome, found.score, found.expected_score) == ("missing", None, None)


# --- the stage --------------------------------------------------------------------------------------------------------


def write_verdicts(engine, file, judge, candidates=CANDIDATES, prompts=PROMPTS, seed=0):
    report = Recorder()
    stage.write_verdicts(engine, prompts, candidates, file, judge=judge, seed=seed, report=report)
    return report


def test_every_candidate_is_judged_by_its_own_prompt(tiny_tokenizer, tmp_path):
    engine = ScriptedEngine(tiny_tokenizer, lambda request: f"Score: {request.seed % 6}")
    file = tmp_path / "verdicts"
    report = write_verdicts(engine, file, JudgeSection(samples=3))
    rows = read_rows(file, Verdict)
    assert [(row.candidate_id, row.sample) for row in rows] == [(c.id, k) for c in CANDIDATES for k in range(3)]
    assert len({row.id for row in rows}) == len({request.seed for request in engine.requests}) == 12
    for number, (row, request) in enumerate(zip(rows, engine.requests, strict=True)):
        candidate = next(c for c in CANDIDATES if c.id == row.candidate_id)
        prompt = next(p for p in PROMPTS if p.id == candidate.prompt_id)
        asked = engine.prompt_text(number)
        assert judge_prompt.fill(judge_prompt.read_template(JudgeSection()), prompt.text, candidate.text) in asked
        assert row.score == request.seed % 6
    assert (report.starts, report.advanced) == ([("verdicts", 12, 0)], 12)


def test_a_greedy_digit_is_sampled_once(tiny_tokenizer, tmp_path):
    engine = ScriptedEngine(tiny_tokenizer, lambda _: "3")
    write_verdicts(engine, tmp_path / "verdicts", JudgeSection(samples=3, justify=False))
    assert len(engine.requests) == len(CANDIDATES)


def test_candidate_without_a_prompt(tiny_tokenizer, tmp_path):
    engine = ScriptedEngine(tiny_tokenizer, lambda _: "Score: 3")
    with pytest.raises(InputError, match="candidate c1: its prompt p1 is not in the file of prompts"):
        write_verdicts(engine, tmp_path / "verdicts", JudgeSection(), prompts=PROMPTS[:1])
    assert not (tmp_path / "verdicts").exists()


@pytest.mark.parametrize("group", [1, 5])
@pytest.mark.parametrize("after", [0, 1, 5, 7])
def test_written_one_by_one_and_resumed(tiny_tokenizer, tmp_path, after, group):
    def judge_of(request):
        return f"Score: {request.seed % 6}"

    judge = JudgeSection(samples=2)
    undisturbed, file = tmp_path / "undisturbed", tmp_path / "verdicts"
    write_verdicts(ScriptedEngine(tiny_tokenizer, judge_of), undisturbed, judge)
    with pytest.raises(Interrupted):
        write_verdicts(ScriptedEngine(tiny_tokenizer, judge_of, fail_after=after, group=group), file, judge)
    assert len(read_rows(file, Verdict)) == after
    engine = ScriptedEngine(tiny_tokenizer, judge_of, group=group)
    report = write_verdicts(engine, file, judge)
    assert len(engine.requests) == 8 - after
    assert (report.starts, report.advanced) == ([("verdicts", 8, after)], 8 - after)
    found, expected = (sorted(read_rows(path, Verdict), key=lambda row: row.id) for path in (file, undisturbed))
    assert found == expected


def test_a_repeated_answer_is_judged_once(tiny_tokenizer, tmp_path):
    engine = ScriptedEngine(tiny_tokenizer, lambda _: "Score: 3")
    stage.judge_answers(
        engine,
        [JudgeItem("a", "Q", "A"), JudgeItem("b", "Q", "B"), JudgeItem("a", "Q", "A")],
        tmp_path / "verdicts",
        judge=JudgeSection(samples=1),
        seed=0,
        report=Recorder(),
        stage="x",
    )
    assert [row.candidate_id for row in read_rows(tmp_path / "verdicts", Verdict)] == ["a", "b"]


def test_verdicts_on_other_answers_count_as_done(tiny_tokenizer, tmp_path):
    file, judge = tmp_path / "verdicts", JudgeSection(samples=2)
    write_verdicts(ScriptedEngine(tiny_tokenizer, lambda _: "Score: 3"), file, judge)
    engine = ScriptedEngine(tiny_tokenizer, lambda _: "Score: 3")
    added = [Candidate("0" * 16, "p0", 9, "new", [2], -1.0, "stop", 0), *CANDIDATES[:1]]
    report = write_verdicts(engine, file, JudgeSection(samples=1), candidates=added)
    assert report.starts == [("verdicts", 9, 8)]
    assert [request.key for request in engine.requests] == [f"{'0' * 16}.0"]


def test_neither_prompts_nor_answers_nor_verdicts_are_kept_in_memory(tiny_tokenizer, tmp_path):
    prompts, candidates, file = (tmp_path / name for name in ("prompts", "candidates", "verdicts"))
    write_rows(prompts, (Prompt(f"p{n}", "x" * 20, "generated", ["a" * 16] * 8, n) for n in range(200)))
    rows = (Candidate(f"c{n}", f"p{n // 5}", n % 5, "y" * 50, [70_000] * 400, -1.0, "stop", 0) for n in range(1_000))
    write_rows(candidates, rows)

    class Endless:
        """An engine that keeps nothing."""

        tokenizer = tiny_tokenizer

        def generate(self, requests):
            return (Completion(request.key, [2], "Score: 9", -1.0, "stop", [[]]) for request in requests)

    def judged():
        given = {"prompts": RowFile(prompts, Prompt), "candidates": RowFile(candidates, Candidate)}
        return write_verdicts(Endless(), file, JudgeSection(samples=1), **given).starts

    write_verdicts(Endless(), tmp_path / "few", JudgeSection())  # load lazily imported modules
    tracemalloc.start()
    assert judged() == [("verdicts", 1_000, 0)]
    assert judged() == [("verdicts", 1_000, 1_000)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000  # 22 MB as rows


def test_seed_determines_the_samples(tiny_tokenizer, tmp_path):
    seeds = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        engine = ScriptedEngine(tiny_tokenizer, lambda _: "Score: 3")
        write_verdicts(engine, tmp_path / name, JudgeSection(), seed=seed)
        seeds.append({request.seed for request in engine.requests})
    assert seeds[0] == seeds[1]
    assert not seeds[0] & seeds[2]


# --- scores -----------------------------------------------------------------------------------------------------------


def verdict(candidate, sample, outcome, score=None, expected=None):
    return Verdict(f"{candidate}{sample}", candidate, sample, "", outcome, score, expected)


ROWS = [
    verdict("a", 0, "scored", 4.0, 3.5),
    verdict("a", 1, "missing"),
    verdict("a", 2, "scored", 1.0, 1.5),
    verdict("b", 0, "out_of_range"),
    verdict("b", 1, "conflicting"),
    verdict("c", 0, "scored", 0.0, None),
    verdict("c", 1, "missing"),
]


def test_only_scored_verdicts_count():
    assert stage.mean_scores(ROWS, expected=False) == {"a": 2.5, "c": 0.0}
    assert stage.mean_scores(ROWS, expected=True) == {"a": 2.5}
    assert stage.mean_scores([], expected=False) == {}


def test_count_outcomes():
    assert stage.count_outcomes(ROWS) == {"scored": 3, "missing": 2, "out_of_range": 1, "conflicting": 1}
    assert stage.count_outcomes([]) == {"scored": 0, "missing": 0, "out_of_range": 0, "conflicting": 0}

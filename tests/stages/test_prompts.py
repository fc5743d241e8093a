"""Self-instruct: demonstrations, filters, and resuming after an interruption."""

import collections
import math
import random

import pytest
from srlm.config import PromptsSection
from srlm.engines.base import Completion
from srlm.rows.records import DroppedPrompt, Prompt, content_id, read_rows
from srlm.stages import prompts as stage
from srlm.stages.novelty import EARLIER, HELD_OUT, KnownPrompt

from tests.scripted import Interrupted, Recorder, ScriptedEngine, Unordered

TOPICS = ["bread", "tides", "chess", "owls", "glass", "rivers", "violins", "taxes", "ferns", "comets"]
SEEDS = [Prompt(f"seed{n}", f"Tell me about {topic} in two lines", "seed", [], 0) for n, topic in enumerate(TOPICS)]


def novel(request):
    """Return random words that depend on the request only."""
    words = random.Random(f"{request.key} {request.seed}")
    return " ".join("".join(words.choices("abcdefgh", k=5)) for _ in range(6))


class Run:
    """A stage's files in a folder, and its reporter."""

    def __init__(self, folder, tokenizer, *, seed=3, **settings):
        self.kept_file, self.dropped_file = folder / "prompts.jsonl", folder / "dropped.jsonl"
        self.tokenizer, self.seed = tokenizer, seed
        self.section = PromptsSection(**{"count": 10, "round_size": 4, **settings})

    def write(self, write=novel, known=(), given=(), engine=ScriptedEngine, **settings):
        self.engine, self.report = engine(self.tokenizer, write, **settings), Recorder()
        stage.write_prompts(
            self.engine,
            SEEDS,
            self.kept_file,
            self.dropped_file,
            prompts=self.section,
            seed=self.seed,
            report=self.report,
            known=known,
            given=given,
        )

    @property
    def kept(self):
        return read_rows(self.kept_file, Prompt)

    @property
    def dropped(self):
        return read_rows(self.dropped_file, DroppedPrompt)

    @property
    def bytes(self):
        return self.kept_file.read_bytes(), self.dropped_file.read_bytes()


@pytest.fixture
def run(tmp_path, tiny_tokenizer):
    return lambda name="run", **settings: Run(tmp_path / name, tiny_tokenizer, **settings)


# --- filters ----------------------------------------------------------------------------------------------------------

REPLIES = {
    0: ("   \n ", "empty"),
    1: ("Write a poem about the", "cut_off"),
    2: ("Hello there", "too_short"),
    3: ("word " * 12, "too_long"),
    4: ("Draw the tides of the sea", "keyword"),
    5: ("Tell me about bread in two lines", "not_novel"),
    6: ("  Explain why bread rises in an oven \n", None),
    7: ("explain WHY bread rises in an oven!", "not_novel"),
    8: ("Is a drawing of owls art?", None),  # a keyword is a whole word
    9: ("Name the capital cities of five countries", None),
}


def replies(request):
    text, reason = REPLIES[int(request.key)]
    return Completion(request.key, [5], text, -1.0, "length" if reason == "cut_off" else "stop", [[]])


def test_every_filter(run):
    one = run(count=3, round_size=10, max_words=10)
    one.write(replies)
    reasons = {row.attempt: row.reason for row in one.dropped}
    assert reasons == {attempt: reason for attempt, (_, reason) in REPLIES.items() if reason}
    assert collections.Counter(reasons.values())["not_novel"] == 2
    assert {row.attempt: row.text for row in one.kept} == {
        attempt: text.strip() for attempt, (text, reason) in REPLIES.items() if reason is None
    }
    assert len(one.kept) + len(one.dropped) == len(REPLIES)
    assert one.report.notes == []
    assert (one.report.starts, one.report.advanced) == ([("prompts", 3, 0)], 3)


def test_the_most_similar_prompt_is_named(run):
    one = run(count=3, round_size=10, max_words=10)
    one.write(replies)
    near = {row.attempt: (row.similar_to, row.similarity) for row in one.dropped if row.reason == "not_novel"}
    first_kept = one.kept[0]
    assert first_kept.text.startswith("Explain why bread")
    assert near == {5: ("seed0", 1.0), 7: (first_kept.id, 1.0)}
    assert all(row.similar_to is row.similarity is None for row in one.dropped if row.reason != "not_novel")


@pytest.mark.parametrize(
    ("text", "cut_off", "reason"),
    [
        ("", False, "empty"),
        ("", True, "empty"),
        ("one two", True, "cut_off"),
        ("one two", False, "too_short"),
        ("one two three", False, None),
        ("one two three four five", False, None),
        ("one two three four five six", False, "too_long"),
        ("show me the PLOT, please", False, "keyword"),
        ("a plotter is what?", False, None),
        ("what is a graph-theory proof", False, "keyword"),
        ("draw, plot and graph", False, "keyword"),
    ],
)
def test_drop_reason(text, cut_off, reason):
    assert stage.drop_reason(text, cut_off, PromptsSection(max_words=5)) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("写一首关于春天的诗", None),
        ("春についての詩を書いてください", None),
        ("เขียนบทกวีเกี่ยวกับฤดูใบไม้ผลิ", None),
        ("ຂຽນບົດກະວີກ່ຽວກັບລະດູໃບໄມ້ປົ່ງ", None),
        ("សរសេរកំណាព្យអំពីរដូវផ្ការីក", None),
        ("နွေဦးအကြောင်းကဗျာတစ်ပုဒ်ရေးပါ", None),
        ("བོད་ཡིག་འབྲི་རོགས།", None),
        ("写诗。", "too_short"),
        ("เขียน", "too_short"),
        ("写一首关于春天的诗。" * 26, "too_long"),  # 156 words
        ("写一首关于春天的诗。" * 25, None),  # 150 words, 250 characters
        ("Write an e-mail to him", "keyword"),
        ("Explain how to use C++, please", "keyword"),
        ("How do I\nGO  TO bed early?", "keyword"),
        ("请描述这张图片的内容", "keyword"),
        ("Does the ego to some degree matter?", None),
    ],
)
def test_filters_serve_every_script(text, reason):
    keywords = ["e-mail", "C++", "go to", "图片"]
    assert stage.drop_reason(text, False, PromptsSection(keywords=keywords)) == reason


def test_similarity_limit(run):
    """Five words of seven in common with a seed give ROUGE-L 5/7, six give 6/7."""
    texts = ["Tell me about snow in three lines", "Tell me about snow in two lines"]
    for limit, kept in [(0.9, 2), (6 / 7, 2), (math.nextafter(6 / 7, 0), 1), (0.8, 1), (0.7, 0)]:
        one = run(f"{limit}", count=2, round_size=2, max_attempts=1, max_rouge_l=limit)
        one.write(lambda request: texts[int(request.key)])
        assert len(one.kept) == kept, limit


@pytest.mark.parametrize("words", ["unicode", "rouge_score"])
def test_an_exact_repeat_is_never_kept(run, words):
    """Equal texts would share an id; the limit alone would keep them at 1, or if the tokenizer sees no words."""
    texts = ["Напиши письмо другу", "Напиши письмо брату", "Напиши письмо другу", TOPICS[0] * 3, SEEDS[0].text]
    one = run(words, count=5, round_size=5, max_attempts=1, max_rouge_l=1.0, rouge_tokenizer=words, min_words=1)
    one.write(lambda request: texts[int(request.key)])
    assert [row.text for row in one.kept] == [texts[0], texts[1], texts[3]]
    near = [(row.reason, row.similarity, row.similar_to) for row in one.dropped]
    assert near == [("not_novel", 1.0, one.kept[0].id), ("not_novel", 1.0, "seed0")]


def test_rouge_tokenizers(run):
    texts = ["Напиши письмо другу", "Напиши письмо брату"]
    for words, kept in [("unicode", 1), ("rouge_score", 2)]:
        one = run(words, count=2, round_size=2, max_attempts=1, max_rouge_l=0.6, rouge_tokenizer=words)
        one.write(lambda request: texts[int(request.key)])
        assert len(one.kept) == kept


def test_rows(run):
    one = run(count=2)
    one.write()
    for row in one.kept:
        assert row.id == content_id("prompt", row.text)
        assert row.source == "generated"
    assert len({row.id for row in one.kept}) == 2


KNOWN = [
    KnownPrompt("old", "Explain why bread rises in an oven", EARLIER),
    KnownPrompt("out", "Name the capital cities of five countries", HELD_OUT),
]


def test_known_prompts_are_not_written_again(run):
    """Prompts of earlier iterations and held-out ones: copies, near copies, and copies in another spelling."""
    texts = {
        0: ("Explain why bread rises in an oven", ("not_novel_earlier", 1.0, "old")),
        1: ("Explain why bread rises in every oven", ("not_novel_earlier", 6 / 7, "old")),
        2: (" explain  WHY bread\nrises in an oven", ("not_novel_earlier", 1.0, "old")),
        3: ("Name the capital cities of five countries", ("not_novel_held_out", 1.0, "out")),
        4: ("Name the capital cities of six countries", ("not_novel_held_out", 6 / 7, "out")),
        5: ("Tell me about bread in two lines", ("not_novel", 1.0, "seed0")),
        6: ("Which owl sleeps by day?", None),
        7: ("Which owl sleeps by day", ("not_novel", 1.0, None)),
    }
    one = run(count=2, round_size=8, max_attempts=4)
    one.write(lambda request: texts[int(request.key)][0], known=KNOWN)
    assert [row.text for row in one.kept] == ["Which owl sleeps by day?"]
    found = {row.attempt: (row.reason, row.similarity, row.similar_to) for row in one.dropped}
    texts[7] = ("", ("not_novel", 1.0, one.kept[0].id))
    assert found == {
        attempt: (reason, pytest.approx(similarity), name)
        for attempt, (_, expected) in texts.items()
        if expected
        for reason, similarity, name in [expected]
    }
    shown = [parent for row in (*one.kept, *one.dropped) for parent in row.parents]
    assert not {"old", "out"} & set(shown)  # they are no demonstrations


@pytest.mark.parametrize("words", ["unicode", "rouge_score"])
def test_known_prompts_of_any_script(run, words):
    known = [KnownPrompt("old", "Напиши письмо", EARLIER), KnownPrompt("out", "写一首关于猫的诗。", HELD_OUT)]
    texts = ["напиши  ПИСЬМО", "写一首关于猫的诗。", "Напиши рассказ", "解释一下量子力学"]
    one = run(words, count=2, round_size=4, max_rouge_l=1.0, rouge_tokenizer=words, min_words=1)
    one.write(lambda request: texts[int(request.key)], known=known)
    assert [row.text for row in one.kept] == texts[2:]
    assert [row.reason for row in one.dropped] == ["not_novel_earlier", "not_novel_held_out"]


@pytest.mark.parametrize("after", range(1, 7))
def test_resuming_compares_with_known_prompts(run, after):
    """The rows are those of an uninterrupted stage, also where a prompt is like several known ones."""
    known = [*KNOWN, KnownPrompt("twin", "Name the capital cities of nine countries", EARLIER)]
    near = "Name the capital cities of six countries"

    def write(request):
        return near if int(request.key) % 3 == 1 else novel(request)

    whole, one = run("whole", count=5), run("part", count=5)
    whole.write(write, known=known)
    with pytest.raises(Interrupted):
        one.write(write, known=known, fail_after=after)
    one.write(write, known=known)
    assert one.bytes == whole.bytes
    assert {(row.reason, row.similar_to) for row in one.dropped} == {("not_novel_held_out", "out")}


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_requests(run, tiny_tokenizer):
    one = run(count=4, examples_seed=3, examples_generated=2, temperature=0.6, top_p=0.9, max_tokens=50)
    one.write()
    texts = {row.id: row.text for row in [*SEEDS, *one.kept]}
    by_attempt = {row.attempt: row for row in one.kept}
    for request in one.engine.requests:
        sampling = request.sampling
        assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.6, 0.9, 50)
        assert "\nTask" in sampling.stop
        prompt = tiny_tokenizer.decode(request.prompt_ids)
        assert prompt.startswith("<|im_start|>user\n")
        assert prompt.endswith("<|im_start|>assistant\nTask 6:")
        parents = by_attempt[int(request.key)].parents
        tasks = [f"Task {number}: {texts[parent]}\n\n" for number, parent in enumerate(parents, 1)]
        assert "".join(tasks) in prompt
    assert len({request.seed for request in one.engine.requests}) == len(one.engine.requests)


def test_braces_in_examples_are_not_expanded(tiny_tokenizer):
    examples = [Prompt("a", "Explain {tasks} and {0} in Python", "seed", [], 0)]
    engine = ScriptedEngine(tiny_tokenizer, novel)
    asked = tiny_tokenizer.decode(stage.request_ids(engine, examples))
    assert "Task 1: Explain {tasks} and {0} in Python\n" in asked


def test_later_attempts_show_generated_examples(run):
    """Of prompts kept at least `round_size` attempts earlier."""
    one = run(count=12, round_size=4, examples_seed=3, examples_generated=2)
    one.write()
    kept = {row.id: row for row in one.kept}
    for row in one.kept:
        generated = [kept[parent] for parent in row.parents if parent in kept]
        assert len(row.parents) == len(set(row.parents)) == 5
        assert len(generated) == min(2, sum(other.attempt <= row.attempt - 4 for other in one.kept))
        assert all(parent.attempt <= row.attempt - 4 for parent in generated)
    assert {row.attempt - kept[parent].attempt for row in one.kept for parent in row.parents if parent in kept} >= {4}
    places = {row.parents.index(parent) for row in one.kept for parent in row.parents if parent in kept}
    assert len(places) > 2  # not always the last ones shown
    assert len({tuple(row.parents) for row in one.kept}) == 12


def test_seed_examples_fill_up_if_few_are_generated(run):
    one = run(count=5, round_size=1, examples_seed=2, examples_generated=3)
    one.write()
    assert [sum(not parent.startswith("seed") for parent in row.parents) for row in one.kept] == [0, 1, 2, 3, 3]
    assert {len(row.parents) for row in one.kept} == {5}


def test_fewer_seeds_than_wanted(run):
    one = run(count=2, examples_seed=50, examples_generated=0)
    one.write()
    assert [len(row.parents) for row in one.kept] == [len(SEEDS)] * 2


def test_another_seed_samples_other_examples(run):
    one, other = run("one", seed=1), run("other", seed=2)
    one.write()
    other.write()
    assert [row.parents for row in one.kept] != [row.parents for row in other.kept]
    assert not {r.seed for r in one.engine.requests} & {r.seed for r in other.engine.requests}


# --- going on ---------------------------------------------------------------------------------------------------------


def sometimes_bad(request):
    """Every third attempt is dropped."""
    return "too short" if int(request.key) % 3 == 1 else novel(request)


@pytest.fixture
def undisturbed(run):
    one = run("undisturbed")
    one.write(sometimes_bad)
    assert len(one.kept) == 10
    assert len(one.dropped) > 2
    return one


@pytest.mark.parametrize("group", [2, 3, 4])
def test_order_of_completions_does_not_matter(run, undisturbed, group):
    one = run(f"group{group}")
    one.write(sometimes_bad, group=group)
    assert one.bytes == undisturbed.bytes


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("after", range(14))
def test_interrupted_and_resumed(run, undisturbed, after, group):
    one = run(f"{after}-{group}")
    with pytest.raises(Interrupted):
        one.write(sometimes_bad, fail_after=after, group=group)
    written = len(one.kept)
    assert group > 1 or len(one.kept) + len(one.dropped) == after  # each row is there at once
    one.write(sometimes_bad, group=group)
    assert one.report.starts == [("prompts", 10, written)]
    assert one.report.advanced == 10 - written
    assert one.bytes == undisturbed.bytes


ORDERS = {
    "first": lambda keys: keys[0],
    "last": lambda keys: keys[-1],
    "shuffled": random.Random(1).choice,
    "one very late": lambda keys: next((key for key in keys if key != "3"), "3"),
}


@pytest.mark.parametrize("choose", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("failing", [None, 0, 3, 13])
def test_any_order_of_completions_gives_the_same_rows(run, choose, failing):
    """Also where a request fails; a failed one is dropped as such."""
    settings = {"count": 30, "round_size": 8, "examples_generated": 4}
    fails = {"fails": lambda request: request.key == str(failing)}
    whole, one = run("whole", **settings), run("one", **settings)
    whole.write(sometimes_bad, **fails)
    one.write(sometimes_bad, engine=Unordered, choose=choose, **fails)
    assert one.bytes == whole.bytes
    assert [row.attempt for row in one.dropped if row.reason == "failed"] == [failing] * (failing is not None)
    assert max(one.engine.in_flight) <= 8


def test_there_is_no_barrier(run):
    """A new attempt is asked as soon as the one `round_size` before it has been filtered."""
    one = run(count=60, round_size=8)
    one.write(engine=Unordered, choose=ORDERS["first"])
    assert set(one.engine.in_flight[:-12]) == {8}
    late = run("late", count=60, round_size=8)
    late.write(engine=Unordered, choose=ORDERS["one very late"])
    assert late.engine.in_flight[:12] == [8, 8, 8, 8, 7, 6, 5, 4, 3, 2, 1, 8]
    assert late.bytes == one.bytes


def test_few_attempts_are_asked_in_vain(run):
    """At the end only about as many as are likely to be needed, instead of `round_size`."""
    one = run(count=40, round_size=32)
    one.write(sometimes_bad, engine=Unordered, choose=ORDERS["first"])
    written = len(one.kept) + len(one.dropped)
    assert written == 60
    assert len(one.engine.requests) <= written + 12
    assert max(one.engine.in_flight) == 32


def test_an_engine_that_loses_a_request_is_an_error(run):
    class Losing(ScriptedEngine):
        def has_failed(self, _key):
            return False

    one = run()
    with pytest.raises(RuntimeError, match="no request is in flight"):
        one.write(engine=Losing, fails=lambda request: request.key == "2")


def test_interrupted_again_and_again(run, undisturbed):
    one = run("often")
    for _ in range(30):
        try:
            one.write(sometimes_bad, fail_after=1)
        except Interrupted:
            continue
        break
    assert one.bytes == undisturbed.bytes


@pytest.mark.parametrize("torn", ["kept_file", "dropped_file"])
def test_torn_last_line(run, undisturbed, torn):
    one = run("torn")
    with pytest.raises(Interrupted):
        # The attempts 0 to 4, of which 1 and 4 are dropped; then the row that was written last is torn.
        one.write(sometimes_bad, fail_after=5 if torn == "dropped_file" else 6)
    file = getattr(one, torn)
    file.write_bytes(file.read_bytes()[:-9])
    one.write(sometimes_bad)
    assert one.bytes == undisturbed.bytes


@pytest.mark.parametrize(
    ("shorter", "lost", "later"),
    [("kept_file", 1, 0), ("kept_file", 3, 1), ("dropped_file", 1, 1), ("dropped_file", 2, 3)],
)
def test_a_loss_of_power_takes_more_of_one_file(run, undisturbed, shorter, lost, later):
    one = run("power")
    with pytest.raises(Interrupted):
        one.write(sometimes_bad, fail_after=9)  # the attempts 0 to 8, of which 1, 4 and 7 are dropped
    file = getattr(one, shorter)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-lost]))
    one.write(sometimes_bad)
    assert one.bytes == undisturbed.bytes
    assert [note.split("; ")[1] for note in one.report.notes] == [f"{later} later ones are recomputed"] * bool(later)


def test_resuming_compares_with_earlier_prompts(run):
    """New prompts are compared with those that an earlier run kept."""
    one = run(count=2, round_size=1)
    with pytest.raises(Interrupted):
        one.write(lambda _: "Explain why bread rises in an oven", fail_after=1)
    one.write(lambda request: "Explain why bread rises in an oven" if request.key == "1" else novel(request))
    assert [(row.attempt, row.reason, row.similar_to) for row in one.dropped] == [(1, "not_novel", one.kept[0].id)]


def test_finished_stage_sends_no_requests(run, undisturbed):
    before = undisturbed.bytes
    undisturbed.write(sometimes_bad)
    assert undisturbed.engine.requests == []
    assert undisturbed.bytes == before
    assert undisturbed.report.notes == []


def test_stops_when_it_has_enough_prompts(run):
    one = run(count=3, round_size=64)
    one.write()
    assert len(one.kept) == 3
    assert len(one.engine.requests) == 3


def test_stops_at_max_attempts(run):
    one = run(count=3, round_size=4, max_attempts=4)
    one.write(lambda request: novel(request) if request.key == "5" else "too short")
    assert [row.attempt for row in one.kept] == [5]
    assert [row.attempt for row in one.dropped] == [n for n in range(12) if n != 5]
    assert one.report.notes == ["prompts: stopped at 1 of 3 after 12 attempts (prompts.max_attempts)"]
    one.write()  # and again at once, when run again
    assert (one.engine.requests, len(one.report.notes)) == ([], 1)


def test_stops_at_max_attempts_below_round_size(run):
    one = run(count=2, round_size=64, max_attempts=3)
    one.write(lambda _: "too short")
    assert len(one.dropped) == 6


# --- prompts from files -----------------------------------------------------------------------------------------------

GIVEN = [
    Prompt(content_id("prompt", text), text, "file", [], -1, columns={"answer": text})
    for text in ("How high is that hill over there", "Name the capital cities of five countries")
]


def test_given_prompts_come_first_and_count(run):
    one = run(count=4)
    one.write(given=GIVEN)
    assert one.kept[:2] == GIVEN
    assert [row.source for row in one.kept] == ["file", "file", "generated", "generated"]


def test_only_given_prompts_ask_nothing(run):
    one = run(count=2)
    one.write(given=GIVEN)
    assert one.kept == GIVEN
    assert one.engine.requests == []


def test_new_prompts_differ_from_the_given_ones_which_are_demonstrations(run):
    one = run(count=4, round_size=1, max_rouge_l=0.5, examples_generated=2)
    one.write(lambda request: GIVEN[1].text if request.key == "0" else novel(request), given=GIVEN)
    assert [(row.attempt, row.reason, row.similar_to) for row in one.dropped] == [(0, "not_novel", GIVEN[1].id)]
    assert all({row.id for row in GIVEN} & set(row.parents) for row in one.kept[2:])


@pytest.mark.parametrize("fail_after", [0, 1, 2])
def test_an_interrupted_mixture_resumes(run, fail_after):
    whole, one = run("whole", count=5), run("one", count=5)
    whole.write(given=GIVEN)
    with pytest.raises(Interrupted):
        one.write(given=GIVEN, fail_after=fail_after)
    one.write(given=GIVEN)
    assert one.bytes == whole.bytes


def test_given_prompts_that_a_crash_cut_off_are_written_again(run):
    one = run(count=2)
    one.write(given=GIVEN)
    before = one.kept_file.read_bytes()
    one.kept_file.write_bytes(before[: before.index(b"\n") + 9])
    one.write(given=GIVEN)
    assert one.kept_file.read_bytes() == before

"""The seed sets: limits, the held-out split, and prompts that the sources of IFT and EFT share."""

import random

import pytest
from srlm import config as configuration
from srlm.errors import InputError
from srlm.loop import Loop
from srlm.native import normal_keys
from srlm.rows.records import Example, read_rows
from srlm.run.run_dir import RunDir
from srlm.run.stage_runner import StageRunner
from srlm.stages import seed, seed_sets

from tests.scripted import Recorder
from tests.stages.test_seed import answers, section, write

FORMS = ("Say  Hello to {}", "say hello\nto {} ", "SAY HELLO TO {}", "\uff33ay hello to {}")


def sources(folder, ift, eft, per_prompt=1):
    """Return the settings of sources with these questions; each IFT question has `per_prompt` answers."""
    ift_rows = [{"prompt": f"question {n}", "response": f"{n} {k}"} for n in ift for k in range(per_prompt)]
    files = {"ift": write(folder / "ift.jsonl", *ift_rows)}
    files["eft"] = write(folder / "eft.jsonl", *(answers(f"question {n}", 5, 1) for n in eft))
    return {name: [str(file)] for name, file in files.items()}


@pytest.fixture
def apart(tmp_path):
    return sources(tmp_path, range(60), range(100, 160))


def load(settings, number=0, **more):
    return seed_sets.load(section(**settings, **more), number)


def asked(sets):
    """Return the normalised prompts of IFT, of EFT's training set, and of the held-out set."""
    texts = (
        [row.prompt[-1]["content"] for row in sets.ift],
        *([row.prompt for row in x] for x in (sets.train, sets.valid)),
    )
    return tuple(set(normal_keys(some)) for some in texts)


# --- limits and the split ---------------------------------------------------------------------------------------------


def test_limits(apart):
    whole = load(apart).ift
    assert len(whole) == 60
    some = load(apart, ift_limit=20).ift
    assert len(some) == 20
    assert some == [row for row in whole if row in some]  # in the order of the file
    assert some == load(apart, ift_limit=20).ift
    assert some != load(apart, 1, ift_limit=20).ift
    assert some != whole[:20]
    assert load(apart, ift_limit=61).ift == whole


def test_limits_count_prompts_of_ranked_answers(apart):
    sets = load(apart, eft_limit=20, valid_fraction=0.25)
    assert (len(sets.train), len(sets.valid)) == (15, 5)
    sets = load(apart, eft_limit=100)
    assert len(sets.train) + len(sets.valid) == 60


@pytest.mark.parametrize(("share", "held_out"), [(0.0, 0), (0.25, 15), (0.42, 25), (1.0, 60)])
def test_the_held_out_fraction(share, held_out, apart):
    sets = load(apart, valid_fraction=share)
    assert (len(sets.train), len(sets.valid)) == (60 - held_out, held_out)
    ids = {row.id for row in [*sets.train, *sets.valid]}
    assert len(ids) == 60


def test_the_split_depends_on_the_seed(apart):
    found = [load(apart, number, valid_fraction=0.5) for number in (0, 0, 1)]
    assert found[0] == found[1]
    assert {row.id for row in found[0].valid} != {row.id for row in found[2].valid}
    order = [row.prompt for row in found[0].valid]
    assert order != [f"question {n}" for n in range(100, 160) if f"question {n}" in order]


def test_equal_prompts_stay_in_one_split(tmp_path):
    rows = [answers(form.format(n), 5, 1 + k) for k, form in enumerate(FORMS) for n in range(30)]
    settings = {"ift": ["packaged"], "eft": [str(write(tmp_path / "a.jsonl", *rows))]}
    for number in range(5):
        sets = load(settings, number, valid_fraction=0.5)
        assert len(sets.train) == len(sets.valid) == 15 * len(FORMS)
        sides = [{row.prompt.split()[-1] for row in side} for side in (sets.train, sets.valid)]
        assert not sides[0] & sides[1]
    sets = load(settings, eft_limit=10)
    assert len(sets.train) + len(sets.valid) == 10 * len(FORMS)


def test_sources_without_a_shared_prompt_lose_nothing(apart):
    sets = load(apart)
    assert (len(sets.ift), len(sets.train) + len(sets.valid)) == (60, 60)
    assert sets.note() is None
    assert sets == load(apart, disjoint=False)


def test_no_judge_is_trained_without_sources():
    sets = load({"ift": ["packaged"], "eft": []})
    assert (sets.train, sets.valid, sets.note()) == ([], [], None)
    assert sets.ift == seed.read_ift(section("packaged"))


# --- prompts that both sources have -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shared", "ift_only", "eft_only", "ift_limit", "eft_limit", "for_eft"),
    [
        (60, 0, 0, None, None, 30),  # the same file twice: half each
        (61, 0, 0, None, None, 30),
        (1, 0, 0, None, None, 0),  # SFT needs an example
        (2, 0, 0, None, None, 1),
        (0, 5, 5, None, None, 0),
        # enough for both limits: EFT may use all that IFT does not need
        (60, 0, 0, 20, 20, 40),
        (60, 0, 0, 20, 30, 40),
        (60, 30, 0, 20, None, 60),
        (60, 0, 90, None, 20, 0),
        # not enough: the same fraction of what each wants
        (60, 0, 0, 60, 20, 15),
        (60, 0, 0, 20, 60, 45),
        (60, 0, 0, 20, None, 45),
        (5371, 0, 0, 3200, 2171, 2171),  # the paper's numbers, just enough
        (4000, 0, 0, 3200, 2171, 1616),
        # a set that has prompts of its own takes fewer of the shared ones
        (60, 60, 0, None, None, 40),
        (60, 0, 60, None, None, 20),
        (60, 20, 0, None, None, 34),
        (60, 0, 20, None, None, 25),
        (10, 1000, 0, None, None, 9),
        (10, 0, 1000, None, None, 0),
        (10, 1000, 0, 1005, None, 9),
        (10, 1000, 0, 1000, None, 10),
        # never nothing, as long as IFT keeps one
        (2, 0, 0, None, 1, 1),
        (1, 9, 0, None, None, 1),
    ],
)
def test_how_many_shared_prompts_eft_may_use(shared, ift_only, eft_only, ift_limit, eft_limit, for_eft):
    limits = {"ift_limit": ift_limit, "eft_limit": eft_limit}
    assert seed_sets.shared_for_eft(shared, ift_only=ift_only, eft_only=eft_only, **limits) == for_eft


def test_no_prompt_is_in_two_sets_and_no_set_starves(tmp_path):
    """Properties of any sources, limits and seeds."""
    draw = random.Random(0)
    for case in range(60):
        sizes = [draw.choice([0, 1, 3, 20, 60]) for _ in range(3)]
        shared, ift_only, eft_only = [sizes[0] + 2, *sizes[1:]]
        ift, eft = range(ift_only + shared), range(ift_only, ift_only + shared + eft_only)
        settings = sources(tmp_path, draw.sample(ift, len(ift)), draw.sample(eft, len(eft)), draw.choice([1, 3]))
        limits = {name: draw.choice([None, 1, 5, 40]) for name in ("ift_limit", "eft_limit")}
        one = load(settings, case, **limits, valid_fraction=draw.choice([0.0, 0.25, 0.5]))
        answering, judging, held_out = asked(one)
        assert not answering & judging | answering & held_out | judging & held_out
        wanted_ift = min(ift_only + shared, limits["ift_limit"] or 999)
        wanted_eft = min(eft_only + shared, limits["eft_limit"] or 999)
        used = len(judging | held_out)
        usable = ift_only + shared - len((judging | held_out) & set(normal_keys([f"question {n}" for n in ift])))
        fraction = min(1, (ift_only + shared + eft_only) / (wanted_ift + wanted_eft))
        fair = (ift_only + shared + eft_only) * wanted_eft // (wanted_ift + wanted_eft)
        assert used >= min(wanted_eft, max(fair, 1))
        assert usable >= max(1, int(wanted_ift * fraction) - (fair == 0))
        assert len(one.ift) > 0
        if limits["ift_limit"] is not None:
            assert len(one.ift) <= limits["ift_limit"]


def test_the_same_trees_twice(tmp_path):
    settings = sources(tmp_path, range(60), range(60))
    sets = load(settings, valid_fraction=0.2)
    assert [len(some) for some in asked(sets)] == [30, 24, 6]
    assert sets.shared == 60
    assert (sets.ift_left_out, sets.eft_left_out) == ({"held_out": 6, "judge_prompts": 24}, {"ift_prompts": 30})
    assert sets.note() == (
        "seed: 60 prompts are in both IFT and EFT sources; IFT examples left out: 6 (held out for the judge), 24 (EFT "
        "prompts); EFT prompts left to IFT: 30"
    )
    assert sets == load(settings, valid_fraction=0.2)
    assert asked(sets) != asked(load(settings, 1, valid_fraction=0.2))


def test_the_limit_counts_after_held_out_prompts_are_removed(tmp_path):
    """Also where the sets may share prompts."""
    settings = sources(tmp_path, range(60), range(60))
    for disjoint in (True, False):
        for number in range(5):
            sets = load(settings, number, ift_limit=20, eft_limit=40, valid_fraction=0.5, disjoint=disjoint)
            assert (len(sets.ift), len(sets.train), len(sets.valid)) == (20, 20, 20)


def test_shared_prompts_may_train_both_sets(tmp_path):
    sets = load(sources(tmp_path, range(60), range(60)), valid_fraction=0.25, disjoint=False)
    answering, judging, held_out = asked(sets)
    assert (len(judging), len(held_out)) == (45, 15)
    assert answering == judging  # held-out prompts are never trained on
    assert (sets.ift_left_out, sets.eft_left_out) == ({"held_out": 15, "judge_prompts": 0}, {"ift_prompts": 0})


def test_prompts_are_compared_after_normalisation(tmp_path):
    """By prompt, never by row: all answers to a prompt, in all its spellings, go into one set."""
    ift = [{"prompt": form.format(n), "response": f"{n} {form}"} for form in FORMS for n in range(20)]
    eft = [answers(FORMS[n % 4].format(n), 5, 1) for n in range(20)]
    settings = {"ift": [str(write(tmp_path / "i.jsonl", *ift))], "eft": [str(write(tmp_path / "e.jsonl", *eft))]}
    for number in range(5):
        sets = load(settings, number)
        answering, judging, held_out = asked(sets)
        assert not answering & (judging | held_out)
        assert (len(answering), len(judging | held_out)) == (10, 10)
        assert len(sets.ift) == 10 * len(FORMS)


def test_the_prompt_of_a_conversation_is_its_last_question(tmp_path):
    turns = [("system", "be brief"), ("user", "x"), ("assistant", "y"), ("user", "Say  HELLO."), ("assistant", "b")]
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in turns]},
        {"prompt": "Say hello!", "response": "a"},
        {"prompt": "say hello.", "response": "a"},
    ]
    settings = {"ift": [str(write(tmp_path / "i.jsonl", *rows))]}
    settings["eft"] = [str(write(tmp_path / "e.jsonl", answers("say hello.", 5, 1)))]
    sets = load(settings, valid_fraction=1.0, disjoint=False)
    assert [row.prompt[-1]["content"] for row in sets.ift] == ["Say hello!"]
    assert sets.ift_left_out["held_out"] == 2


def test_a_set_without_a_prompt_is_an_error(tmp_path):
    one = sources(tmp_path, [1], [1])
    with pytest.raises(InputError, match=r"no prompt is left for the judge.*set seed_data.disjoint=false"):
        load(one)
    with pytest.raises(InputError, match=r"no IFT example is left.*lower seed_data.valid_fraction"):
        load(one, disjoint=False, valid_fraction=1.0)


# --- Open Assistant's real export -------------------------------------------------------------------------------------


def test_real_trees_are_divided(oasst):
    settings = {"ift": [str(oasst)], "eft": [str(oasst)]}
    sets = load(settings)
    assert [len(some) for some in asked(sets)] == [47, 35, 12]
    assert len(set.union(*asked(sets))) == sets.shared == 94
    overlapping = load(settings, disjoint=False)
    assert [len(some) for some in asked(overlapping)] == [70, 70, 24]
    few = load(settings, ift_limit=40, eft_limit=30)
    assert [len(some) for some in asked(few)] == [40, 22, 8]


# --- in a run ---------------------------------------------------------------------------------------------------------


def test_a_run_says_what_was_left_out(tmp_path):
    files = sources(tmp_path, range(60), range(60))
    config = configuration.build({"model": {"name": "unused"}, "seed_data": files})
    run, report = RunDir.open(tmp_path / "run", config), Recorder()
    for _ in range(2):  # the second time nothing is written
        Loop(StageRunner(config, run, None, report)).make_seed()
    assert report.notes[0].startswith("seed: 60 prompts are in both IFT and EFT sources; ")
    assert run.entry("seed/ift")["left_out"] == {"held_out": 8, "judge_prompts": 22}
    assert run.entry("seed/eft_ranked")["left_out"] == {"ift_prompts": 30}
    assert run.entry("seed/ift")["rows"] == len(read_rows(run.seed("ift.jsonl"), Example)) == 30

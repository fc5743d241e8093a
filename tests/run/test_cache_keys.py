"""Cache keys: which settings and file contents are in a stage's key, and which stages a change recomputes."""

import shutil
from pathlib import Path

import pytest
from srlm import config as configuration
from srlm.cli.plan import stages_to_recompute
from srlm.config import describe
from srlm.evaluation.comparison_key import comparison_key_inputs
from srlm.run.cache_keys import key_inputs
from srlm.run.run_dir import NOT_IN_CACHE_KEYS, RunDir
from srlm.run.stage_runner import StageRunner

from tests.run.planned import COMPARED, JUDGED, build, changed, finished


def test_only_the_named_sections_and_the_seed_count():
    one, other = build(judge={"samples": 2}), build(judge={"samples": 3})
    assert key_inputs(one, "engine") == key_inputs(other, "engine")
    assert key_inputs(one, "judge") != key_inputs(other, "judge")
    assert key_inputs(one) != key_inputs(build(seed=1))


@pytest.mark.parametrize(
    ("section", "key", "fields", "inputs"),
    [
        ("judge", "judge prompt", "{prompt} {response}", lambda config: key_inputs(config, "judge")),
        ("head_to_head", "pairwise prompt", "{prompt} {first} {second}", comparison_key_inputs),
    ],
)
def test_the_content_of_a_prompt_file_counts(tmp_path, section, key, fields, inputs):
    file = tmp_path / "prompt.txt"
    file.write_text(fields, encoding="utf-8")
    config = build(**{section: {"prompt_file": str(file)}})
    before = inputs(config)
    file.write_text(f"{fields}!", encoding="utf-8")
    assert {name for name, part in inputs(config).items() if part != before[name]} == {key}


def test_the_content_of_a_chat_template_counts_for_every_stage(tmp_path):
    file = tmp_path / "template.jinja"
    file.write_text("{{ messages }}", encoding="utf-8")
    config = build(model={"name": "m", "chat_template": str(file)})
    before = key_inputs(config)
    file.write_text("{{ messages }}!", encoding="utf-8")
    assert key_inputs(config) != before


def test_a_setting_that_changes_nothing_does_not_count():
    """A run from before the setting existed has a key without it."""
    off, on = build(), build(sft={"ranking_balance": True}, pairs={"max_count": 7})
    assert not {"sft.ranking_balance", "pairs.max_count"} & key_inputs(off, "sft", "pairs").keys()
    assert {"sft.ranking_balance", "pairs.max_count"} <= key_inputs(on, "sft", "pairs").keys()


def test_settings_of_speed_and_memory_do_not_count():
    some, other = (
        build(
            sft={"save_steps": count, "save_minutes": count, "micro_batch_size": count, "micro_batch_tokens": count},
            dpo={"gradient_checkpointing": count == 2},
            engine={"batch_size": count, "max_num_seqs": count, "enforce_eager": count == 2},
        )
        for count in (1, 2)
    )
    assert key_inputs(some, "sft", "dpo", "engine") == key_inputs(other, "sft", "dpo", "engine")
    assert key_inputs(some, "engine") != key_inputs(build(engine={"max_model_len": 9}), "engine")


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    """A run whose judge writes justifications, and whose judge examples come from human ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "other.jsonl").write_text('"Why is the sky blue?"\n', encoding="utf-8")
        yield finished(folder, tiny_model)


GENERATED = {"prompts", "candidates", "verdicts", "judge_held_out", "answers", *COMPARED}
BASE_MODEL = {
    "sft",
    "judge_held_out",
    "answers",
    "implicit_preferences",
}  # what is trained from M0, and M0's evaluation
# The kinds of stages whose own key a setting changes; their dependents are recomputed too.
CHANGES = {
    "seed=1": {*GENERATED, "ift", "eft_ranked", "eft_valid", "eft_train", "held_out", "sft", "pairs", "dpo"}
    | {"implicit_preferences"},
    "model.trust_remote_code=true": BASE_MODEL,
    "model.date=2020-01-31": set(),  # only if the chat template prints a date
    "eft.from=judgements": {"eft_train"},
    "eft.samples=9": set(),  # only if examples come from judgements
    "eft.max_share=0.9": {"eft_train"},
    "engine.kind=vllm": GENERATED,
    "engine.dtype=float16": GENERATED,
    "engine.max_model_len=99": GENERATED,
    "prompts.model=other": {"prompts"},
    "prompts.count=9": {"prompts"},
    "prompts.keywords=[]": {"prompts"},
    "candidates.per_prompt=9": {"candidates"},
    "candidates.temperature=0.1": {"candidates", "answers"},
    "candidates.top_p=0.1": {"candidates", "answers"},
    "candidates.max_tokens=9": {"candidates", "answers"},
    "judge.samples=9": JUDGED,
    "judge.temperature=0.1": JUDGED,
    "judge.top_p=0.1": JUDGED,
    "suppliers.hot_per_prompt=2": {"candidates"},
    "suppliers.hot_temperature=2": set(),  # only with suppliers that use them
    "suppliers.model_per_prompt=2": set(),
    "judge.max_tokens=9": JUDGED,
    "judge.justify=false": {*JUDGED, "eft_train"},
    "judge.score=expected": {"judge_held_out", "pairs"},
    "judge.max_score=9": {*JUDGED, "eft_train", "pairs"},
    "pairs.method=margin": {"pairs"},
    "pairs.min_margin=1": {"pairs"},
    "pairs.min_margin=[0, 1]": set(),  # M2's stays
    "pairs.min_margin=[1, 0]": {"pairs"},
    "pairs.top_k=9": set(),  # these only with methods that use them
    "pairs.rho=0.3": set(),
    "pairs.max_per_prompt=9": set(),
    "pairs.max_count=9": {"pairs"},
    "pairs.max_count=[9, 7]": {"pairs"},
    "pairs.weight=margin": {"pairs"},
    "pairs.keep_truncated=true": {"pairs"},
    "train.kind=sft": {"pairs"},
    "judge_data.kind=meta_judge": set(),  # its stages are new, and the training depends on them
    "judge_data.until=2": set(),  # these only with judge data
    "judge_data.max_prompts=9": set(),
    "judge_data.max_judgements=9": set(),
    "judge_data.hide_scores=false": set(),
    "judge_data.justify=false": set(),
    "judge_data.max_tokens=9": set(),
    "judge_data.samples=9": set(),
    "judge_data.max_judgement_length=9": set(),
    "judge_data.max_share=0.9": set(),
    "signal.min_votes=0.5": set(),  # only with the signals that use them
    "signal.answer_pattern='(?P<answer>.)'": set(),
    "signal.reference=previous": set(),
    "signal.length_normalize=true": set(),
    "signal.length_penalty=auto": set(),
    "signal.confidence=rank_agreement": set(),
    "gates.distinct_answers=3": set(),
    "prompts.cycle=true": set(),  # only with prompts from files
    "sft.learning_rate=1": {"sft"},
    "sft.ranking_weight=0": {"sft"},
    "sft.ranking_balance=true": {"sft"},
    "sft.lora={rank: 4}": {"sft"},
    "sft.share_prefixes=false": {"sft"},
    "sft.micro_batch_tokens=99": set(),
    "dpo.beta=1": {"dpo"},
    "dpo.eval_steps=9": {"dpo", "held_out"},  # a part of the held-out prompts chooses checkpoints
    "dpo.early_stopping_patience=9": set(),  # only with eval_steps
    "evaluate.instructions_max_tokens=9": set(),  # only with instructions
    "evaluate.base=false": set(),
    "evaluate.implicit_preferences=false": set(),
    "evaluate.judge_prompts=9": {"judge_held_out"},
    "head_to_head.prompts=1": {"held_out"},
    "head_to_head.baselines=[first]": set(),
    "head_to_head.prompt_files=[other.jsonl]": {"held_out"},
    "seed_data.eft_limit=4": {"eft_ranked", "eft_valid", "held_out"},
    "seed_data.ift_limit=4": {"ift"},
    "seed_data.disjoint=false": set(),  # the packaged sources share no prompt
    "seed_data.valid_fraction=0.5": {"eft_ranked", "eft_valid", "held_out"},
    "head_to_head.judge=m2": COMPARED,
    "head_to_head.by=pointwise": COMPARED,
    "head_to_head.justify=false": COMPARED,
    "head_to_head.max_tokens=9": COMPARED,
    "endpoint.base_url=http://localhost/v1": set(),  # only if it judges
    "iterations=3": set(),
    "seeds=3": set(),
    "control=random": set(),
    "report_to=[tensorboard]": set(),
    "launch.processes=2": set(),
    "gates.parse_rate=0.9": set(),
    "pairs.min_count=9": set(),
    "sft.save_steps=9": set(),
    "sft.save_minutes=9": set(),
    "dpo.gradient_checkpointing=true": set(),
    "engine.stall_seconds=9": set(),
    "endpoint.timeout=9": set(),
}
# Their content counts, not the setting: tested below, and in the tests of the stages.
BY_CONTENT = {"seed_data.ift", "seed_data.eft", "model.name", "model.revision", "model.chat_template", "name"}
BY_CONTENT |= {"judge.prompt_file", "head_to_head.prompt_file", "evaluate.preferences", "evaluate.instructions"}
ELSEWHERE = {"judge.score_pattern", "endpoint.model", "dpo.simpo_gamma"}  # below
ELSEWHERE |= {"signal.kind", "signal.function", "signal.max_score"}  # in the tests of the signals
ELSEWHERE |= {"suppliers.model", "suppliers.human"}  # in the tests of the suppliers
WHOLE_SECTIONS = ("sft.", "dpo.", "prompts.")  # one key represents the others


@pytest.mark.parametrize(("word", "kinds"), CHANGES.items())
def test_stages_that_a_setting_changes(run, word, kinds):
    assert changed(run, word)[0] == kinds


def test_every_setting_is_tested():
    tried = {word.partition("=")[0] for word in CHANGES} | BY_CONTENT | ELSEWHERE
    left = {key for key, _, _ in describe() if not key.startswith((*WHOLE_SECTIONS, *NOT_IN_CACHE_KEYS))} - tried
    assert left == set()


def test_dependents_of_another_number_of_verdicts(run):
    """M1, its prompts, its answers and M0's are kept."""
    _, again = changed(run, "judge.samples=9")
    later = {"m2/verdicts", "m2/pairs", "m2/dpo", "m2/answers", "m2/vs_m1", "m2/vs_m0", "m2/implicit_preferences"}
    assert again == {"m0/judge_held_out", "m1/judge_held_out", "m2/judge_held_out", *later}


def test_m0_is_not_evaluated_again_for_another_training(run):
    _, again = changed(run, "sft.learning_rate=1")
    assert not {name for name in again if name.startswith("m0/")}
    assert {"m1/sft", "m1/answers", "m1/vs_m0"} <= again


def test_the_evaluation_of_the_sft_baseline_depends_on_its_training(tiny_model, tmp_path):
    run = finished(tmp_path, tiny_model, eft={"from": "judgements"}, head_to_head={"baselines": ["base", "sft"]})
    _, again = changed(run, "sft.learning_rate=1")
    evaluation = {f"sft/{stage}" for stage in ("judge_held_out", "answers", "vs_m0")}
    assert {"sft/sft", "seed/judgements", *evaluation, "m1/vs_sft", "m2/vs_sft"} <= again
    assert not {name for name in again if name.startswith("m0/")}
    kinds, again = changed(run, "candidates.temperature=0.1")
    assert kinds == {"candidates", "answers"}
    assert {"m0/answers", "sft/answers", "sft/vs_m0"} <= again
    assert "m1/sft" not in again


def test_the_date_counts_if_the_chat_template_prints_it(tiny_model, tmp_path):
    template = tmp_path / "template.jinja"
    body = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    template.write_text("{{ strftime_now('%d %b %Y') }}\n" + body, encoding="utf-8")
    run = finished(tmp_path, tiny_model, template=str(template))
    assert changed(run, "model.date=2020-01-31")[0] == BASE_MODEL
    folder = tmp_path / "m"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    run = finished(tmp_path / "own", str(folder))
    assert changed(run, "model.date=2020-01-31")[0] == BASE_MODEL


def test_prompts_model_does_not_depend_on_the_trained_models(tiny_model, tmp_path):
    run = finished(tmp_path, tiny_model, prompts={"model": tiny_model})
    _, again = changed(run, "sft.learning_rate=1")
    assert "m2/candidates" in again
    assert "m2/prompts" not in again


@pytest.mark.parametrize("writer", ["m1", "prompts.model"])
def test_prompts_depend_on_the_prompts_that_they_must_differ_from(tiny_model, tmp_path, monkeypatch, writer):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(f'"Why is the sky blue in {name}?"\n', encoding="utf-8")
    settings = {} if writer == "m1" else {"prompts": {"model": tiny_model}}
    run = finished(tmp_path, tiny_model, iterations=3, head_to_head={"prompt_files": ["one.jsonl"]}, **settings)
    known = ["seed/ift", "seed/eft_ranked", "seed/eft_valid", "seed/held_out"]
    for t, earlier in ((2, []), (3, ["m2/prompts"])):
        found = RunDir(run).known_stages()[f"m{t}/prompts"]["depends_on"]
        assert found == [*known, *earlier, *(["m1/sft" if t == 2 else "m2/dpo"] if writer == "m1" else [])]
    assert {"m2/prompts", "m3/prompts"} <= changed(run, "head_to_head.prompt_files=[two.jsonl]")[1]
    assert {"m2/prompts", "m3/prompts"} <= changed(run, "seed_data.eft_limit=4")[1]
    assert not {"m2/prompts", "m3/prompts"} & changed(run, "evaluate.judge_prompts=1")[1]


def test_held_out_prompts_of_the_seed_are_those_of_eft_valid(run):
    """How many of them are compared head to head changes no training data."""
    assert "seed/held_out" not in RunDir(run).known_stages()["m2/prompts"]["depends_on"]
    assert not {"m2/prompts", "m2/dpo"} & changed(run, "head_to_head.prompts=1")[1]


def test_a_run_without_stages(tiny_model, tmp_path):
    config = configuration.build({"model": {"name": tiny_model}, "eft": {"from": "ranks"}})
    run = RunDir.open(tmp_path / "run", config)
    assert changed(run.path, "judge.samples=9") == (set(), set())


def test_judge_data_trains_again(run):
    assert changed(run, "judge_data.kind=meta_judge")[1] >= {"m2/dpo", "m2/answers"}
    assert not {"m2/pairs", "m2/verdicts", "m1/sft"} & changed(run, "judge_data.kind=meta_judge")[1]


def test_a_base_model_in_another_folder_is_the_same(run, tiny_model, tmp_path):
    import shutil

    moved = Path(shutil.copytree(tiny_model, tmp_path / "moved"))
    assert changed(run, f"model.name={moved}") == (set(), set())
    (moved / "generation_config.json").write_text('{"eos_token_id": 5}', encoding="utf-8")
    assert changed(run, f"model.name={moved}")[0] == BASE_MODEL


def test_a_base_model_by_name_is_not_looked_up(tiny_model, tmp_path, monkeypatch):
    """The recorded weights are assumed, unless the name has changed."""
    monkeypatch.setattr(StageRunner, "resolve", lambda *_: tiny_model)
    run = finished(tmp_path, "owner/name")
    monkeypatch.undo()
    assert changed(run, "pairs.min_margin=1")[0] == {"pairs"}
    assert changed(run, "model.revision=main")[0] == BASE_MODEL
    assert changed(run, "model.name=owner/other")[0] == BASE_MODEL
    again = stages_to_recompute(run, configuration.load(str(run / "config.yaml"), ("model.name=owner/other",)))
    assert again["m1/sft"] == again["m0/answers"] == "model.name changed: owner/name → owner/other"


def test_the_reason_names_the_settings_that_are_read(run):
    words = ("candidates.per_prompt=9", "candidates.top_p=0.5", "sft.lora={rank: 4}")
    again = stages_to_recompute(run, configuration.load(str(run / "config.yaml"), words))
    assert again["m1/answers"] == "candidates.top_p changed: 0.9 → 0.5"
    assert again["m2/candidates"] == "candidates.per_prompt changed: 4 → 9, candidates.top_p changed: 0.9 → 0.5"
    assert again["m1/sft"].startswith("sft.lora")


@pytest.mark.parametrize(
    ("word", "stage", "reason"),
    [
        ("dpo.eval_steps=9", "m2/dpo", "dpo.eval_steps changed: None → 9"),
        ("head_to_head.by=pointwise", "m2/vs_m1", "head_to_head.by changed: pairwise → pointwise"),
        ("judge.justify=false", "m2/verdicts", "judge.justify changed: True → False"),
        ("model.chat_template=plain", "m1/sft", "model.chat_template changed: None → plain"),
        ("prompts.model=.", "m2/prompts", "prompts.model changed: None → ."),
        ("seed=1", "seed/ift", "seed changed: 0 → 1"),
        ("head_to_head.prompts=1", "seed/held_out", "head_to_head.prompts changed: 256 → 1"),
    ],
)
def test_the_reason_names_no_other_setting(run, word, stage, reason):
    again = stages_to_recompute(run, configuration.load(str(run / "config.yaml"), (word, "sft.batch_size=32")))
    assert again[stage].removesuffix(", sft.batch_size changed: 16 → 32") in (reason, f"{reason}, judge prompt changed")

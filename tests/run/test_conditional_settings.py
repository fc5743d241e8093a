"""Cache keys: settings that count only with others, and optional stages."""

import json

import pytest
from srlm.run.run_dir import RunDir

from tests.run.planned import COMPARED, JUDGED, changed, finished


@pytest.mark.parametrize(("loss", "kinds"), [("sigmoid", set()), ("sft", set()), ("aot", {"dpo"})])
def test_the_micro_batch_size_counts_for_losses_of_micro_batches(tiny_model, tmp_path, loss, kinds):
    run = finished(tmp_path, tiny_model, dpo={"loss_type": [loss]})
    assert changed(run, "dpo.micro_batch_size=2")[0] == kinds
    assert changed(run, "sft.micro_batch_size=2")[0] == set()


@pytest.mark.parametrize("method", ["margin", "length_controlled", "top_bottom"])
def test_pairing_methods_read_their_own_settings(tiny_model, tmp_path, method):
    run = finished(tmp_path, tiny_model, pairs={"method": method})
    words = {"pairs.rho=0.3", "pairs.top_k=9", "pairs.max_per_prompt=9"}
    read = {
        "margin": {"pairs.max_per_prompt=9"},
        "length_controlled": {"pairs.rho=0.3"},
        "top_bottom": {"pairs.top_k=9", "pairs.max_per_prompt=9"},
    }
    assert {word for word in words if changed(run, word)[0]} == read[method]


def test_comparisons_read_the_settings_of_their_method(tiny_model, tmp_path):
    words = ("head_to_head.max_tokens=9", "head_to_head.justify=true")
    by_scores = finished(tmp_path / "a", tiny_model, head_to_head={"by": "pointwise", "justify": False})
    assert changed(by_scores, *words)[0] == set()
    assert changed(by_scores, "judge.samples=9")[0] == {*JUDGED, *COMPARED}
    by_a_token = finished(tmp_path / "b", tiny_model, head_to_head={"justify": False})
    assert changed(by_a_token, words[0])[0] == set()
    assert changed(by_a_token, words[1])[0] == COMPARED


def test_optional_stages_are_recomputed_too(tiny_model, tmp_path):
    """Instructions, more preferences, the KL divergence from M1, and the segments of a training."""
    rules = {"key": 1, "prompt": "Say tea.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    (tmp_path / "rules.jsonl").write_text(json.dumps(rules) + "\n", encoding="utf-8")
    preferred = {"prompt": "Say tea.", "chosen": "tea", "rejected": "no"}
    (tmp_path / "words.jsonl").write_text(json.dumps(preferred) + "\n", encoding="utf-8")
    files = {"instructions": str(tmp_path / "rules.jsonl"), "preferences": {"words": str(tmp_path / "words.jsonl")}}
    run = finished(tmp_path, tiny_model, iterations=3, evaluate=files, dpo={"eval_steps": 5})
    folder = RunDir(run)
    segment = {"cache_key": "k", "path": "m3/checkpoints", "depends_on": ["m3/pairs"], "input_hashes": {}}
    folder.finish("m3/step_5", segment, 0.0, {})
    folder.finish("m3/m1_logprobs", {**segment, "depends_on": ["m3/candidates"]}, 0.0, {})
    assert changed(run, "evaluate.instructions_max_tokens=9")[0] == {"instructions"}
    assert changed(run, "judge.samples=9")[0] == {*JUDGED, "judge_words"}
    assert "m3/m1_logprobs" in changed(run, "candidates.temperature=0.1")[1]
    assert "m3/step_5" in changed(run, "pairs.min_margin=1")[1]
    (tmp_path / "words.jsonl").write_text(json.dumps({**preferred, "chosen": "Tea"}) + "\n", encoding="utf-8")
    assert changed(run)[0] == {"judge_words"}


@pytest.mark.parametrize("stops", [True, False])
def test_a_training_depends_on_the_prompts_that_choose_its_checkpoints_only(tiny_model, tmp_path, stops):
    """It does not depend on the prompts that models are compared on, unless new prompts have to differ from them."""
    (tmp_path / "other.jsonl").write_text('"Why is the sky blue?"\n"Why is tea hot?"\n', encoding="utf-8")
    seed_data = {"eft_limit": 24, "ift_limit": 8}
    run = finished(tmp_path, tiny_model, seed_data=seed_data, dpo={"eval_steps": 5 if stops else None})
    kinds, again = changed(run, "head_to_head.prompts=1")
    assert kinds == {"held_out", "early_stop"} if stops else {"held_out"}
    assert ("m2/dpo" in again) is stops
    assert ("m1/judge_held_out" in again) is stops
    assert "m2/pairs" not in again
    assert "m1/answers" in again
    _, again = changed(run, f"head_to_head.prompt_files=[{tmp_path / 'other.jsonl'}]")
    assert {"m2/prompts", "m2/pairs", "m2/dpo", "m1/answers"} <= again


def test_a_judge_without_justification_does_not_sample(tiny_model, tmp_path):
    run = finished(tmp_path, tiny_model, judge={"justify": False})
    made = finished(tmp_path / "judgements", tiny_model, judge={"justify": False}, eft={"from": "judgements"})
    assert changed(made, "eft.samples=9")[0] == set()
    words = ("judge.samples=9", "judge.temperature=0.1", "judge.top_p=0.1", "judge.max_tokens=9")
    assert changed(run, *words)[0] == set()


def test_judgements_have_their_own_number_of_samples(tiny_model, tmp_path):
    run = finished(tmp_path, tiny_model, eft={"from": "judgements"})
    assert changed(run, "judge.samples=9")[0] == JUDGED
    assert changed(run, "eft.samples=9")[0] == {"judgements", "eft_train"}
    assert changed(run, "eft.max_share=0.9")[0] == {"eft_train"}
    assert changed(run, "judge.temperature=0.1")[0] == {*JUDGED, "judgements"}
    assert changed(run, "judge.score=expected")[0] == {"judge_held_out", "pairs"}
    assert changed(run, "judge.score_pattern='(?P<score>.)'")[0] == {*JUDGED, "judgements"}


def test_without_ranked_answers_the_judge_does_not_decide_m1(tiny_model, tmp_path):
    """So another signal scores the same responses."""
    run = finished(tmp_path, tiny_model, seed_data={"eft": [], "ift_limit": 8}, head_to_head={"prompts": 0})
    again = changed(run, "signal.kind=random", "judge.justify=false", "judge.max_score=9", "eft.max_share=0.9")[1]
    assert "m2/dpo" in again
    assert not {"seed/eft_train", "m1/sft", "m2/prompts", "m2/candidates"} & again


def test_judge_data_reads_the_settings_of_its_kind(tiny_model, tmp_path):
    """A change of them trains the model again that learns from its pairs, but neither judges nor samples again."""
    run = finished(tmp_path, tiny_model, iterations=3, judge_data={"kind": "meta_judge"})
    compared = {"judgement_comparisons"}
    assert changed(run, "judge_data.max_prompts=9")[0] == compared
    assert changed(run, "judge_data.max_judgements=9")[0] == compared
    assert changed(run, "judge_data.hide_scores=false")[0] == compared
    assert changed(run, "judge_data.justify=false")[0] == compared
    assert changed(run, "judge_data.max_tokens=9")[0] == compared
    assert changed(run, "judge_data.max_tokens=9", "judge_data.justify=false")[0] == compared
    assert changed(run, "judge_data.samples=9") == (set(), set())
    assert changed(run, "judge_data.max_share=0.9")[0] == {"judgement_pairs"}
    kinds, again = changed(run, "judge_data.max_judgement_length=9")
    assert kinds == {"judgement_pairs"}
    assert {"m2/dpo", "m3/prompts", "m3/judgement_comparisons"} <= again
    assert not {"m2/verdicts", "m2/judgement_comparisons", "m2/pairs"} & again
    _, again = changed(run, "judge_data.until=2")
    assert "m3/dpo" in again
    assert not {"m2/dpo", "m3/prompts", "m3/verdicts", "m3/pairs"} & again
    assert "m2/judgement_comparisons" in changed(run, "judge.samples=9")[1]


def test_modified_instructions_read_their_own_settings(tiny_model, tmp_path):
    run = finished(tmp_path, tiny_model, judge_data={"kind": "modified_instruction"}, signal={"kind": "random"})
    assert changed(run, "judge_data.samples=9")[0] == {"modified_verdicts"}
    assert changed(run, "judge_data.max_prompts=9")[0] == {"modified_prompts"}
    assert changed(run, "judge_data.max_share=0.9")[0] == {"judgement_pairs"}
    for word in ("justify=false", "max_tokens=9", "max_judgements=9", "hide_scores=false"):
        assert changed(run, f"judge_data.{word}") == (set(), set())
    assert "modified_verdicts" in changed(run, "judge.temperature=0.1")[0]
    assert not {"modified_verdicts", "judgement_pairs"} & changed(run, "judge.samples=9", "judge.score=expected")[0]
    kinds, again = changed(run, "candidates.max_tokens=9")
    assert {"candidates", "modified_answers"} <= kinds
    assert {"m2/modified_prompts", "m2/judgement_pairs", "m2/dpo"} <= again


def test_patience_counts_with_checkpoint_comparisons(tiny_model, tmp_path):
    run = finished(tmp_path, tiny_model, dpo={"eval_steps": 5})
    assert changed(run, "dpo.early_stopping_patience=9")[0] == {"dpo"}
    assert changed(run, "candidates.per_prompt=9")[0] == {"candidates"}
    assert changed(run, "head_to_head.max_tokens=9")[0] == {"dpo", *COMPARED}
    assert changed(run, "dpo.simpo_gamma=9")[0] == {"dpo"}


def test_the_model_behind_an_endpoint_counts(tiny_model, tmp_path):
    run = finished(tmp_path, tiny_model, head_to_head={"judge": "endpoint"}, endpoint={"model": "x"})
    for word in ("endpoint.model=y", "endpoint.base_url=http://localhost/v1"):
        assert changed(run, word)[0] == COMPARED
    assert changed(run, "endpoint.timeout=9")[0] == set()


@pytest.mark.parametrize("model", ["base", "previous"])
def test_another_supplier_changes_its_answers_and_the_candidates(tiny_model, tmp_path, model):
    run = finished(tmp_path, tiny_model, suppliers={"model": model})
    other = "previous" if model == "base" else "base"
    for word in (f"suppliers.model={other}", "suppliers.model_per_prompt=9"):
        assert changed(run, word)[0] == {"supplied", "candidates"}
    assert changed(run, "candidates.per_prompt=9")[0] == {"candidates"}
    assert changed(run, "suppliers.hot_per_prompt=3")[0] == {"candidates"}


def test_the_temperature_of_hot_samples_counts_if_there_are_any(tiny_model, tmp_path):
    run = finished(tmp_path, tiny_model, suppliers={"hot_per_prompt": 2})
    assert changed(run, "suppliers.hot_temperature=2")[0] == {"candidates"}

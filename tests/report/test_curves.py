"""Which metrics of a run become points, under which names and on which axis."""

import math

import pytest
from srlm.report.curves import Point, stage_points


def estimate(value, n=10):
    return {"value": value, "low": 0.1, "high": 0.9, "n": n}


COMMON = {
    "format": 4,
    "cache_key": "a1",
    "seconds": 2.5,
    "finished": "2026-11-28T01:00:44+0000",
    "versions": {"torch": "2.13.0"},
}


@pytest.mark.parametrize(
    ("stage", "entry", "metrics"),
    [
        ("m2/candidates", {"rows": 96, "engine": "vllm"}, {"candidates/rows": 96.0}),
        (
            "m2/judge_held_out",
            {"pairs": 60, "pairwise_accuracy": estimate(0.58), "spearman": estimate(None, 0), "score_entropy": None},
            {"judge_held_out/pairs": 60.0, "judge_held_out/pairwise_accuracy": 0.58},
        ),
        (
            "m2/judge_llmbar",
            {
                "histogram": {"0": 3, "1": 4},
                "outcomes": {"scored": 7, "missing": 0},
                "human_agreement": None,
                "flags": [],
            },
            {"judge_llmbar/outcomes/scored": 7.0, "judge_llmbar/outcomes/missing": 0.0},
        ),
        (
            "m2/vs_m1",
            {"judge": "m1", "wins": 4, "win_rate": estimate(0.45), "mean_length": [10, 20], "usage": {"cost": 0.25}},
            {"vs_m1/wins": 4.0, "vs_m1/win_rate": 0.45, "vs_m1/usage/cost": 0.25},
        ),
        (
            "m2/instructions",
            {"prompt_strict": estimate(0.3), "by_kind": {"punctuation:no_comma": estimate(1.0)}},
            {"instructions/prompt_strict": 0.3},
        ),
        (
            "m2/pairs",
            {
                "drops": {"tied": 5},
                "data_metrics": {
                    "parse_rate": 0.9,
                    "kl_from_m1": math.inf,
                    "score_histogram": {"2.5": 4},
                    "length_histogram": {"edges": [0, 10], "counts": [4]},
                    "gates": [{"gate": "tied_prompts", "value": 0.9}],
                },
            },
            {"pairs/drops/tied": 5.0, "pairs/data_metrics/parse_rate": 0.9},
        ),
    ],
)
def test_metrics_of_a_model(stage, entry, metrics):
    expected = metrics | {f"{stage.partition('/')[2]}/seconds": 2.5}
    assert stage_points(stage, COMMON | entry, []) == [Point("model", 2, expected)]


def test_m0_and_the_sft_baseline_are_the_first_points():
    entry = {"win_rate": estimate(0.45)}
    assert stage_points("m1/vs_m0", entry, []) == [Point("model", 1, {"vs_m0/win_rate": 0.45})]
    assert stage_points("m0/judge_held_out", {"tied": estimate(0.2)}, []) == [
        Point("model", 0, {"judge_held_out/tied": 0.2})
    ]
    assert stage_points("sft/judge_held_out", {"tied": estimate(0.3)}, []) == [
        Point("model", 0, {"sft_baseline/judge_held_out/tied": 0.3})
    ]
    assert stage_points("sft/sft", {"rows": 4}, ROWS) == [
        Point("sft/step", 1, {"sft/loss": 0.7, "sft/rewards/margins": -0.1, "sft/num_tokens": 12.0}),
        Point("sft/step", 2, {"sft/rewards/margins": 0.2}),
        Point("model", 0, {"sft_baseline/sft/rows": 4.0}),
    ]


@pytest.mark.parametrize("stage", ["seed/ift", "seed/eft_valid", "notes", "sft", "m0/", "mine/answers"])
def test_a_stage_of_no_model_has_no_points(stage):
    assert stage_points(stage, COMMON | {"rows": 48}, []) == []


def test_an_entry_without_numbers_has_no_points():
    assert stage_points("m1/answers", {"format": 4, "cache_key": "a1", "flags": ["a sentence"], "done": True}, []) == []


ROWS = [
    {"step": 1, "loss": 0.7, "rewards/margins": -0.1, "epoch": 0.5, "num_tokens": 12.0},
    {"step": 2, "loss": "nan", "rewards/margins": 0.2, "epoch": 1.0},
    {"step": 2, "train_runtime": 34.5, "train_loss": 0.7, "epoch": 1.0},
]


def test_a_training():
    entry = COMMON | {
        "rows": 19,
        "steps": 2,
        "best_step": 1,
        "checkpoints": [
            {"step": 1, "win_rate": estimate(0.5), "wins": 1, "kept": True},
            {"step": 2, "win_rate": None, "kept": False},
        ],
    }
    assert stage_points("m3/dpo", entry, ROWS) == [
        Point("m3/step", 1, {"m3/loss": 0.7, "m3/rewards/margins": -0.1, "m3/num_tokens": 12.0}),
        Point("m3/step", 2, {"m3/rewards/margins": 0.2}),
        Point("m3/step", 1, {"m3/checkpoint/win_rate": 0.5}),
        Point("model", 3, {"dpo/seconds": 2.5, "dpo/rows": 19.0, "dpo/steps": 2.0, "dpo/best_step": 1.0}),
    ]


def test_the_rows_of_a_training_are_of_no_other_stage():
    assert stage_points("m3/pairs", {"rows": 4}, ROWS) == [Point("model", 3, {"pairs/rows": 4.0})]


def test_a_training_whose_rows_are_gone():
    assert stage_points("m1/sft", {"rows": 4}, []) == [Point("model", 1, {"sft/rows": 4.0})]


@pytest.mark.parametrize("stage", ["m2/step_8", "m2/step_8_answers", "m2/step_8_vs_4"])
def test_checkpoint_stages_of_a_training_have_no_curves_of_their_own(stage):
    assert stage_points(stage, {"seconds": 3.0, "wins": 4}, []) == []

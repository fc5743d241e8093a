"""A scripted run directory for the report, with every file and manifest entry that a run of M1 and M2 can have."""

import json
from pathlib import Path

import yaml
from srlm.evaluation.paired import write_cases
from srlm.rows.records import Candidate, CaseResult, Pair, Verdict, write_rows, write_text
from srlm.run.run_dir import FORMAT

# Text that models or users may write: it must be shown, never executed.
HOSTILE = "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>\u2028{{ 7 * 7 }}"
NOT_ABOVE_LENGTH = 'Not significantly better than "the longer answer is better" (difference -3 to +12 points).'
VERSIONS = {"srlm": "0.1.0", "torch": "2.13.0"}


def est(value, low, high, n):
    return {"value": value, "low": low, "high": high, "n": n}


NONE = est(None, None, None, 0)


def entry(seconds, rows, **values):
    return {
        "format": FORMAT,
        "cache_key": "k",
        "seconds": seconds,
        "finished": "2026-11-28T01:00:00+0000",
        "versions": VERSIONS,
        "rows": rows,
    } | values


def judging(accuracy, **values):
    return entry(
        10.0, 20, engine="vllm", tokens_in=4000, tokens_out=200, too_long=1, prompts=20, answers=60, pairs=57,
        pairs_unscored=3, prompts_unscored=1, pairwise_accuracy=accuracy, exact_match=est(0.25, 0.1, 0.4, 20),
        five_best=est(0.35, 0.2, 0.5, 20), spearman=est(0.21, -0.05, 0.47, 19), kendall=est(0.17, -0.04, 0.4, 19),
        longer_accuracy=est(0.541, 0.48, 0.602, 57), gain_over_length=est(0.161, 0.05, 0.27, 57),
        gain_over_length_p=0.004, tied=est(0.12, 0.05, 0.2, 57), parse_rate=est(0.95, 0.9, 1.0, 60),
        length_spearman=est(0.4, 0.2, 0.6, 20), agreement=NONE, score_entropy=1.83,
        histogram={"0": 1, "1": 4, "2": 10, "3": 15, "4": 20, "5": 7},
        outcomes={"scored": 57, "missing": 2, "out_of_range": 1, "conflicting": 0}, human_agreement=None, flags=[],
    ) | values  # fmt: skip


def instructions(strict):
    return entry(
        30.0, 541, prompt_strict=strict, instruction_strict=est(0.31, 0.28, 0.34, 834),
        prompt_loose=est(0.24, 0.2, 0.28, 541), instruction_loose=est(0.35, 0.32, 0.38, 834),
        by_kind={"length_constraints:number_words": est(0.4, 0.3, 0.5, 52)},
    )  # fmt: skip


def manifest():
    return {
        "seed/ift": entry(0.1, 48),
        "m1/sft": entry(141.4, 104, dropped_too_long=2, steps=13, train_loss=2.0606),
        "m1/judge_held_out": judging(
            est(0.583, 0.51, 0.651, 57), flags=[NOT_ABOVE_LENGTH], gain_over_length=est(0.042, -0.03, 0.12, 57),
            gain_over_length_p=0.3,
        ),
        "m1/instructions": instructions(est(0.214, 0.18, 0.25, 541)),
        "m1/answers": entry(5.0, 3, engine="vllm", tokens_in=30, tokens_out=60),
        "m2/prompts": entry(20.0, 3, engine="vllm", tokens_in=900, tokens_out=90),
        "m2/candidates": entry(20.0, 8, engine="vllm", tokens_in=80, tokens_out=800),
        "m2/verdicts": entry(20.0, 7, engine="vllm", tokens_in=7000, tokens_out=70),
        "m2/pairs": entry(
            0.2, 2, drops={"too_few_scored": 1, "tied": 0, "over_cap": 1}, prompts=3,
            prompts_dropped={"not_novel": 4, "empty": 0}, candidates=8, truncated=1, mean_score=2.5, mean_length=40.0,
            verdicts={"scored": 5, "missing": 1, "out_of_range": 1, "conflicting": 0},
            data_metrics={
                "parse_rate": 0.714, "tied_prompts": 0.85, "score_entropy": 1.4, "length_correlation": 0.3,
                "pairs_kept": 0.667, "kl_from_m1": None, "score_histogram": {"2": 3, "3.5": 2},
                "length_histogram": {"edges": [0, 20, 40], "counts": [3, 5]},
                "gates": [{"gate": "tied_prompts", "value": 0.85, "limit": 0.8, "action": "warn",
                           "text": "In 85 % of the prompts all scores tie."}],
            },
        ),
        "m2/dpo": entry(
            36.2, 2, dropped_too_long=0, steps=4, train_loss=0.6912, best_step=4,
            checkpoints=[
                {"step": 2, "win_rate": None, "wins": None, "ties": None, "losses": None, "kept": True},
                {"step": 4, "win_rate": est(0.6, 0.45, 0.75, 40), "wins": 20, "ties": 8, "losses": 12, "kept": True},
            ],
        ),
        "m2/judge_held_out": judging(est(0.702, 0.64, 0.76, 57), flags=["Scores follow length."]),
        "m2/judge_pandalm": judging(est(0.6, 0.55, 0.65, 900), human_agreement=est(0.72, 0.7, 0.74, 900)),
        "m2/answers": entry(5.0, 3, engine="vllm", tokens_in=30, tokens_out=90),
        "m2/vs_m1": entry(
            60.0, 200, judge="m1", prompts=200, wins=120, ties=20, losses=55, unparseable=5,
            win_rate=est(0.667, 0.604, 0.728, 195), length_controlled=est(0.512, 0.441, 0.583, 195),
            length_controlled_p=0.6, length_controlled_withheld=None,
            preference=est(0.534, 0.52, 0.549, 195), first_position_rate=0.56,
            disagreements=31, mean_length=[420.5, 310.25],
            usage={"requests": 400, "cached": 0, "retries": 1, "prompt_tokens": 9000, "completion_tokens": 1000,
                   "cost": 0.5},
        ),
        "m2/instructions": instructions(est(0.305, 0.27, 0.34, 541)),
    }  # fmt: skip


def config(name="a run"):
    return {
        "name": name, "seed": 7, "iterations": 2, "model": {"name": "smollm2-135m-instruct"},
        "candidates": {"per_prompt": 4}, "pairs": {"method": "best_worst"},
    }  # fmt: skip


def candidate(index, text="An answer.", finish="stop"):
    return Candidate(f"c{index}", f"p{index // 4}", index % 4, text, [1] * (10 + index), -1.5, finish, 1)


def verdict(index, score, outcome="scored", text="Fine."):
    return Verdict(f"v{index}", f"c{index}", 0, f"{text} Score: {score}", outcome, score, None)


def pair(index, good, bad, text="An answer."):
    ask, say = [{"role": "user", "content": f"Question {index}? {text}"}], [{"role": "assistant", "content": text}]
    return Pair(
        prompt_id=f"p{index}", prompt=ask, chosen=say, rejected=say,
        chosen_id=f"c{good}", rejected_id=f"c{bad}", chosen_score=4.0 - index, rejected_score=1.0,
        chosen_token_ids=[1] * (10 + good), rejected_token_ids=[1] * (10 + bad),
    )  # fmt: skip


def metrics(t):
    rows = [{"step": step, "loss": 2.5 / step, "grad_norm": "nan"} for step in (1, 2, 3, 4)]
    if t > 1:
        for row in rows:
            step = row["step"]
            row |= {"logps/chosen": -100.0 - 5 * step, "logps/rejected": -100.0 - 20 * step}
            row |= {"rewards/margins": 1.5 * step, "rewards/accuracies": 0.25 * step}
    return [*rows, {"step": 4, "train_loss": 1.0}]


def cases(metric, right, total, per_prompt=1):
    """Results of `total` cases, of which those in `right` are 1."""
    return [CaseResult(metric, f"c{n}", f"p{n // per_prompt}", float(n in right)) for n in range(total)]


def write_evaluations(path, t):
    """Write the results by case: M2 judges 10 more and 3 fewer pairs right, and follows 80 more and 31 fewer."""
    folder, pairs, followed = path / f"m{t}", set(range(33)), set(range(116))
    if t == 2:
        pairs = pairs - {1, 11, 21} | set(range(40, 50))
        followed = followed - set(range(31)) | set(range(200, 280))
    write_cases(folder / "judge_held_out.jsonl", cases("pairwise_accuracy", pairs, 57, 3))
    write_cases(folder / "instructions.jsonl", cases("prompt_strict", followed, 541))


def make_run(path: Path, *, name="a run", text="An answer.", iterations=2):
    """Write the run directory; `text` is put into prompts, answers and verdicts."""
    write_text(path / "config.yaml", yaml.safe_dump(config(name) | {"iterations": iterations}, allow_unicode=True))
    write_text(path / "manifest.json", json.dumps(manifest()))
    for t in (1, 2):
        write_evaluations(path, t)
        write_rows(path / f"m{t}" / "metrics.jsonl", metrics(t))
        write_rows(path / f"m{t}" / "answers.jsonl", [candidate(10 * t + i) for i in range(3)])
    # Of eight candidates, four are in pairs (one truncated), one has no score, one is truncated, two are not in a pair.
    write_rows(
        path / "m2" / "candidates.jsonl", [candidate(i, text, "length" if i in (0, 6) else "stop") for i in range(8)]
    )
    verdicts = [verdict(i, 3.0, text=text) for i in (0, 1, 2, 3, 4, 6, 7)] + [verdict(5, None, "missing", text)]
    write_rows(path / "m2" / "verdicts.jsonl", verdicts)
    write_rows(path / "m2" / "pairs.jsonl", [pair(0, 0, 1, text), pair(1, 4, 7, text)])
    return path


def change_manifest(path, change):
    """Apply `change` to the manifest and write it back."""
    file = path / "manifest.json"
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found))

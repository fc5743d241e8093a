"""The complete loop from the command line, on a tiny model with each engine; and its interruption and resumption."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.conftest import HANG_SECONDS
from tests.once import once

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

SRLM = (sys.executable, "-m", "srlm.cli")
JUDGE_PROMPT = "Question: {prompt}\nAnswer: {response}\nScore from 0 to 5."
NO_NETWORK = Path(__file__).parents[1] / "no_network"
WORDS = ("tea", "sun", "map", "ice", "owl", "red", "two", "sky")
ROWS = ("prompts", "candidates", "verdicts", "pairs")


def config(model: str, folder: Path, engine: str, *, evaluated: bool = False) -> str:
    """Write a configuration with which a tiny random model learns the format of a verdict within seconds.

    Held-out answers are always judged; `evaluated` adds all other evaluations.
    """
    (folder / "judge.txt").write_text(JUDGE_PROMPT, encoding="utf-8")
    ift = [{"prompt": f"Say the word {word}.", "response": word} for word in WORDS]
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ift), encoding="utf-8")
    values: dict[str, Any] = {
        "name": "tiny",
        "model": {"name": model},
        "seed_data": {"ift": [str(folder / "words.jsonl")], "eft_limit": 24, "valid_fraction": 0.25},
        "eft": {"from": "ranks"},
        "sft": {
            "learning_rate": 5e-3,
            "min_learning_rate": 1e-3,
            "epochs": 6,
            "batch_size": 8,
            "micro_batch_size": 4,
            "ranking_weight": 0.0,  # six epochs of a random model suffice for formats, not for ranks beside them
        },
        "engine": {"kind": engine, "max_model_len": 2048, "cpu_cache_gib": 1, "enforce_eager": True},
        "prompts": {"count": 6, "max_tokens": 24, "round_size": 8, "max_rouge_l": 1.0, "min_words": 1},
        "candidates": {"per_prompt": 3, "max_tokens": 12, "temperature": 1.0},
        "judge": {"justify": False, "score": "expected", "prompt_file": str(folder / "judge.txt")},
        "pairs": {"keep_truncated": True},
        "dpo": {
            "learning_rate": 1e-4,
            "min_learning_rate": 1e-5,
            "batch_size": 4,
            "micro_batch_size": 2,
            "dropout": 0.0,
        },
        "head_to_head": {"prompts": 4 if evaluated else 0, "justify": False},
    }
    if evaluated:
        values["evaluate"] = evaluation(folder)
        values["gates"] = {"kl_from_m1": 1000.0, "score_entropy": 2.6, "score_entropy_action": "warn"}
    values["prompts"]["temperature"] = 2.0
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(file)


def evaluation(folder: Path) -> dict[str, Any]:
    """Write human preferences and verifiable instructions, and return the settings that name them."""
    preferred = [{"prompt": f"Say {word}.", "chosen": word, "rejected": "No."} for word in WORDS]
    (folder / "preferred.jsonl").write_text("".join(json.dumps(row) + "\n" for row in preferred), encoding="utf-8")
    rules = {"key": 1, "prompt": "Say tea.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    (folder / "rules.jsonl").write_text(json.dumps(rules) + "\n", encoding="utf-8")
    return {
        "preferences": {"words": str(folder / "preferred.jsonl")},
        "instructions": str(folder / "rules.jsonl"),
        "instructions_max_tokens": 12,
    }


def srlm(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*SRLM, *words], capture_output=True, text=True, check=False, timeout=HANG_SECONDS)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def finished(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished, uninterrupted run on the transformers engine; its configuration is beside it."""

    def make(folder: Path) -> None:
        check_run(config(tiny_model, folder, "transformers", evaluated=True), folder / "run", "transformers")

    return once(tmp_path_factory, "finished", make) / "run"


def test_the_whole_loop_on_transformers(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    again = srlm("run", str(finished.with_name("tiny.yaml")), "--run-dir", str(run))
    assert "candidates:" not in again.stderr  # no stage runs twice
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert srlm("status", str(run)).stdout.count("done") == len(manifest)


def test_every_model_is_evaluated(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text(encoding="utf-8"))
    for t in (0, 1, 2, 3):
        judged, words = manifest[f"m{t}/judge_held_out"], manifest[f"m{t}/judge_words"]
        accuracy = judged["pairwise_accuracy"]
        assert accuracy["n"] == judged["pairs"] > 0 if t else accuracy["n"] == 0  # the random M0 gives no scores
        assert accuracy["low"] <= accuracy["value"] if t else accuracy["value"] is None
        assert words["pairs"] + words["pairs_unscored"] == len(WORDS)
        assert manifest[f"m{t}/instructions"]["prompt_strict"]["n"] == 1
        assert manifest[f"m{t}/answers"]["rows"] == 4
    for later, earlier in ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)):
        entry = manifest[f"m{later}/vs_m{earlier}"]
        assert entry["wins"] + entry["ties"] + entry["losses"] + entry["unparseable"] == 4
        assert len(rows(finished / f"m{later}" / f"vs_m{earlier}.jsonl")) == entry["rows"] == 8
    assert not (finished / "m0" / "model").exists()
    stages = list(manifest)
    assert max(stages.index(f"m0/{name}") for name in ("judge_held_out", "instructions")) < stages.index("m1/sft")
    assert manifest["m2/pairs"]["data_metrics"]["kl_from_m1"] == 0
    assert manifest["m3/pairs"]["data_metrics"]["kl_from_m1"] == pytest.approx(manifest["m3/m1_logprobs"]["kl_from_m1"])
    assert [gate["gate"] for gate in manifest["m2/pairs"]["data_metrics"]["gates"]] == ["score_entropy"]
    report = (finished / "report.html").read_text(encoding="utf-8")
    assert "did the model improve" in report.lower()
    assert "Win rate against M0" in report


def test_a_changed_setting_recomputes_its_stages_and_their_dependents(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    changed = "pairs.min_margin=1e-12"
    before = {name: (run / "m2" / name).read_bytes() for name in ("verdicts.jsonl", "pairs.jsonl")}
    seen = srlm("status", str(run), changed).stdout
    assert "m2/pairs would be recomputed: pairs.min_margin changed: 0.0 → 1e-12" in seen
    assert "and their dependents: m2/dpo, " in seen
    assert "m3/dpo" in seen.partition("and their dependents: ")[2]
    assert "m2/verdicts would" not in seen
    assert (run / "m2" / "pairs.jsonl").read_bytes() == before["pairs.jsonl"]
    again = srlm("run", str(run / "config.yaml"), "iterations=2", changed, "--run-dir", str(run))
    assert "m2/pairs: recomputed because pairs.min_margin changed: 0.0 → 1e-12; the previous output" in again.stderr
    assert "M1 candidates:" not in again.stderr
    assert "M2 dpo:" in again.stderr
    assert (run / "m2" / "verdicts.jsonl").read_bytes() == before["verdicts.jsonl"]
    assert (run / "archive" / "1" / "m2" / "pairs.jsonl").read_bytes() == before["pairs.jsonl"]
    assert (run / "archive" / "1" / "m3" / "model").is_dir()
    assert "archive/1: m2/pairs, m2/dpo" in srlm("status", str(run)).stdout


def test_connections_fail_without_a_network(tmp_path: Path) -> None:
    """The two complete runs, one on each engine, have no network; otherwise their test would prove nothing."""
    with cut_off(tmp_path) as tried:
        reach_out = [sys.executable, "-c", "import socket; socket.create_connection(('192.0.2.1', 80), 1)"]
        assert b"unreachable" in subprocess.run(reach_out, capture_output=True, check=False).stderr
        assert tried.read_text(encoding="utf-8").startswith("192.0.2.1 by ")


@contextlib.contextmanager
def cut_off(folder: Path) -> Iterator[Path]:
    """Run commands without network access, and without settings that keep libraries from trying.

    The yielded file lists the attempted connections; without attempts it does not exist.
    """
    tried = folder / "tried"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{NO_NETWORK}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("NO_NETWORK_LOG", str(tried))
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
            patch.delenv(name, raising=False)
        yield tried


def test_a_gate_stops_before_training(finished: Path, tmp_path: Path) -> None:
    """Before the pairs are built: the gate stops the run, and with another limit it resumes."""
    run = rewound(finished, tmp_path, ("m2/pairs",), {"gates": {"score_entropy": 2.6, "score_entropy_action": "stop"}})
    file = str(run / "config.yaml")
    stopped = srlm("run", file, "iterations=2", "--run-dir", str(run), code=1)
    assert "m2: not trained: gates.score_entropy" in stopped.stderr
    assert not (run / "m2" / "model").exists()
    srlm("run", file, "iterations=2", "gates.score_entropy=null", "--run-dir", str(run))
    assert (run / "m2" / "model").is_dir()


def test_early_stop_keeps_the_best_checkpoint(finished: Path, tmp_path: Path) -> None:
    """Two segments of one step each, compared by M1: the model is one of the two checkpoints."""
    run = rewound(finished, tmp_path, ("m2/dpo",), {"dpo": {"eval_steps": 1, "early_stopping_patience": 9}})
    srlm("run", str(run / "config.yaml"), "iterations=2", "--run-dir", str(run))
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    trained = manifest["m2/dpo"]
    assert [row["step"] for row in trained["checkpoints"]] == [1, trained["steps"]] == [1, 2]
    assert trained["best_step"] == max(row["step"] for row in trained["checkpoints"] if row["kept"])
    steps = [row["step"] for row in rows(run / "m2" / "metrics.jsonl") if "loss" in row]
    assert steps == [1, 2]  # each once
    chosen, compared = ({row["id"] for row in rows(run / "seed" / f"{n}.jsonl")} for n in ("early_stop", "held_out"))
    assert chosen
    assert compared
    assert not chosen & compared  # the prompts that choose the checkpoint do not compare models
    assert manifest["m2/step_2_vs_1"]["prompts"] == len(chosen)
    assert manifest["m2/vs_m1"]["prompts"] == len(compared)
    assert not list((run / "m2" / "checkpoints").rglob("*.safetensors"))
    straight = load_file(finished / "m2" / "model" / "model.safetensors")
    stopped = load_file(run / "m2" / "model" / "model.safetensors")
    same = all(straight[name].equal(stopped[name]) for name in straight)
    assert same == (trained["best_step"] == 2)  # a pause changes nothing


def rewound(finished: Path, tmp_path: Path, stages: tuple[str, ...], changes: dict[str, dict[str, Any]]) -> Path:
    """Return a copy of a finished run in which `stages` of M2 are not done yet, with other settings for them."""
    run = tmp_path / "rewound"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns("m3"))
    shutil.rmtree(run / "m2" / "model")
    (run / "m2" / "metrics.jsonl").unlink()
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    after = ("m2/judge", "m2/answers", "m2/instructions", "m2/vs", "m2/dpo", "m3/", *stages)
    kept = {name: entry for name, entry in manifest.items() if not name.startswith(after)}
    (run / "manifest.json").write_text(json.dumps(kept), encoding="utf-8")
    for name in ("answers", "instructions", "judge_held_out", "judge_words", "vs_m1", "vs_m0"):
        (run / "m2" / f"{name}.jsonl").unlink()
    values = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    for section, settings in changes.items():
        values[section] |= settings
    (run / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return run


def test_the_reference_is_kept_in_the_run(finished: Path) -> None:
    """The log-probabilities of every pair under M1 equal those of the first DPO step, before any update."""
    kept = load_file(finished / "m2" / "reference.safetensors")
    assert {name: tuple(values.shape) for name, values in kept.items()} == {
        name: (len(rows(finished / "m2" / "pairs.jsonl")),) for name in ("chosen", "rejected")
    }
    first = rows(finished / "m2" / "metrics.jsonl")[0]
    assert min(kept["chosen"]) <= first["logps/chosen"] <= max(kept["chosen"])
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-5)


def test_the_reference_of_sampled_answers_is_what_the_engine_has_computed(finished: Path) -> None:
    kept = load_file(finished / "m2" / "reference.safetensors")["chosen"].tolist()
    sampled = {row["id"]: row["logprob"] for row in rows(finished / "m2" / "candidates.jsonl")}
    chosen = [sampled[row["chosen_id"]] for row in rows(finished / "m2" / "pairs.jsonl")]
    assert kept == torch.tensor(chosen).tolist()


def test_the_whole_loop_on_vllm(tiny_model: str, tmp_path: Path) -> None:
    check_run(config(tiny_model, tmp_path, "vllm"), tmp_path / "run", "vllm")


def check_run(file: str, run_dir: Path, engine: str) -> None:
    """Run the loop without a network, and check its files and its output."""
    with cut_off(run_dir.parent) as tried:
        done = srlm("run", file, "--run-dir", str(run_dir))
    assert not tried.exists(), tried.read_text(encoding="utf-8")
    for word in ("M0", "M1", "M2", "M3", "pairs kept", "judge accuracy", "'longer is better'", "train loss", "minutes"):
        assert word in done.stderr
    manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["m2/candidates"]["engine"] == engine
    environments = json.loads((run_dir / "environments.json").read_text(encoding="utf-8"))
    assert {entry["environment"] for entry in manifest.values()} == environments.keys()

    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = []
    for t in (1, 2, 3):
        folder = run_dir / f"m{t}" / "model"
        assert AutoTokenizer.from_pretrained(folder).chat_template
        assert "| base model |" in (folder / "README.md").read_text(encoding="utf-8")
        weights.append(AutoModelForCausalLM.from_pretrained(folder).lm_head.weight.detach().clone())
    assert not weights[0].equal(weights[1])
    assert not weights[1].equal(weights[2])

    for t in (2, 3):
        made = {name: rows(run_dir / f"m{t}" / f"{name}.jsonl") for name in ROWS}
        check_rows(made)
        assert {name: manifest[f"m{t}/{name}"]["rows"] for name in ROWS} == {name: len(made[name]) for name in ROWS}


def check_rows(made: dict[str, list[dict[str, Any]]]) -> None:
    assert len(made["prompts"]) == 6
    assert len(made["candidates"]) == 18
    prompt_ids = {row["id"] for row in made["prompts"]}
    assert {row["prompt_id"] for row in made["candidates"]} == prompt_ids
    candidates = {row["id"]: row for row in made["candidates"]}
    assert len(candidates) == 18
    assert sorted(row["candidate_id"] for row in made["verdicts"]) == sorted(candidates)
    scores = {row["candidate_id"]: row["expected_score"] for row in made["verdicts"] if row["outcome"] == "scored"}
    assert made["pairs"]
    for pair in made["pairs"]:
        assert scores[pair["chosen_id"]] > scores[pair["rejected_id"]]
        chosen, rejected = candidates[pair["chosen_id"]], candidates[pair["rejected_id"]]
        assert chosen["prompt_id"] == rejected["prompt_id"] == pair["prompt_id"]
        assert pair["chosen_token_ids"] == chosen["token_ids"]
        assert pair["rejected"] == [{"role": "assistant", "content": rejected["text"]}]


def test_ctrl_c_and_resuming(finished: Path, tmp_path: Path) -> None:
    """Interrupted once in each of several stages, a run ends with the rows of the uninterrupted one."""
    file, stopped = str(finished.with_name("tiny.yaml")), tmp_path / "stopped"
    for name in ("m1/metrics.jsonl", "m2/candidates.jsonl", "m2/metrics.jsonl"):
        interrupt_when(stopped / name, file, stopped)
    srlm("run", file, "iterations=2", "--run-dir", str(stopped))
    for name in ROWS:
        expected, resumed = (rows(run / "m2" / f"{name}.jsonl") for run in (finished, stopped))
        key = "chosen_id" if name == "pairs" else "id"
        assert sorted(row[key] for row in resumed) == sorted(row[key] for row in expected)


def interrupt_when(appears: Path, file: str, run_dir: Path) -> None:
    process = subprocess.Popen(
        [*SRLM, "run", file, "iterations=2", "--run-dir", str(run_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell starts its background jobs with the signal ignored, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + HANG_SECONDS
    while not (appears.exists() and appears.stat().st_size) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # like a terminal: to every process of the group
    output, _ = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert "Traceback" not in output


def test_single_stages_on_files(finished: Path, tmp_path: Path) -> None:
    run_dir, made = finished, tmp_path / "made"
    ift, options = run_dir / "seed" / "ift.jsonl", ("--config", str(run_dir.with_name("tiny.yaml")))
    model = str(run_dir / "m1" / "model")
    files = {name: str(made / f"{name}.jsonl") for name in ROWS}
    known = ("--earlier", str(run_dir / "m2" / "prompts.jsonl"), "--held-out", str(ift.with_name("eft_valid.jsonl")))
    srlm("prompts", "--model", model, "--ift", str(ift), *known, "--out", files["prompts"], *options)
    earlier = {row["text"] for row in rows(run_dir / "m2" / "prompts.jsonl")}
    assert not earlier & {row["text"] for row in rows(Path(files["prompts"]))}
    srlm("generate", "--model", model, "--prompts", files["prompts"], "--out", files["candidates"], *options)
    data = ("--prompts", files["prompts"], "--candidates", files["candidates"])
    srlm("judge", "--model", model, *data, "--out", files["verdicts"], *options)
    srlm("pairs", *data, "--verdicts", files["verdicts"], "--out", files["pairs"], *options)
    check_rows({name: rows(Path(file)) for name, file in files.items()})
    srlm("dpo", "--model", model, "--pairs", files["pairs"], "--out", str(made / "m2"), *options)
    srlm("sft", "--model", model, "--data", str(ift), "--out", str(made / "sft"), *options)
    for name in ("m2", "sft"):
        assert (made / name / "model.safetensors").is_file()
    taken = srlm("sft", "--model", model, "--data", str(ift), "--out", str(made / "sft"), *options, code=2)
    assert "already exists" in taken.stderr


def test_training_with_two_processes(tiny_model: str, tmp_path: Path) -> None:
    """Two CPU processes write a model and its metrics, and report progress."""
    file, out = config(tiny_model, tmp_path, "transformers"), tmp_path / "two"
    ift = tmp_path / "ift.jsonl"
    example = {"prompt": [{"role": "user", "content": "Say hello."}]}
    example["completion"] = [{"role": "assistant", "content": "Hello."}]
    ift.write_text("".join(json.dumps({"id": str(n), **example}) + "\n" for n in range(16)), encoding="utf-8")
    words = ("launch.processes=2", "sft.micro_batch_size=2")
    done = srlm("sft", "--model", tiny_model, "--data", str(ift), "--out", str(out), "--config", file, *words)
    assert "rows 16" in done.stdout
    assert "sft: 12/12 steps" in done.stderr  # 16 rows x 6 epochs / batch of 8
    assert (out / "model.safetensors").is_file()
    assert not list(tmp_path.rglob("*.partial"))
    steps = [row["step"] for row in rows(tmp_path / "two.metrics.jsonl")]
    assert steps == [*range(1, 13), 12]  # each once, and a summary


def test_a_full_disk_loses_nothing(tiny_model: str, tmp_path: Path) -> None:
    file, disk = config(tiny_model, tmp_path, "transformers"), tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], check=False)  # noqa: S607
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    try:
        full = srlm("run", file, "iterations=2", "--run-dir", str(disk / "run"), code=1)
        assert "No space left on device" in full.stderr
        kept = rows(disk / "run" / "seed" / "ift.jsonl")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)  # noqa: S607
        srlm("run", file, "iterations=2", "--run-dir", str(disk / "run"))
        assert rows(disk / "run" / "seed" / "ift.jsonl") == kept
        check_rows({name: rows(disk / "run" / "m2" / f"{name}.jsonl") for name in ROWS})
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # noqa: S607


def test_eft_from_the_models_own_judgements(tiny_model: str, tmp_path: Path) -> None:
    """As in the paper: an IFT model judges, and judgements that rank the answers as the humans did become EFT."""
    file = config(tiny_model, tmp_path, "transformers")
    # A random model has to learn the format of a verdict first; its scores stay random.
    verdicts = [
        {"prompt": JUDGE_PROMPT.format(prompt=f"{n}?", response=n), "response": f"Score: {n % 6}"} for n in range(36)
    ]
    (tmp_path / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in verdicts), encoding="utf-8")
    answers = [{"text": "yes", "rank": 0}, {"text": "no", "rank": 1}]
    ranked = [{"prompt": f"Is {n} a number?", "answers": answers} for n in range(16)]
    (tmp_path / "ranked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ranked), encoding="utf-8")
    words = (
        f"seed_data.eft=[{tmp_path / 'ranked.jsonl'}]",
        "eft.from=judgements",
        "eft.samples=6",
        "eft.max_share=1.0",
    )
    judge = ("judge.justify=true", "judge.max_tokens=12", "judge.temperature=1.0", "judge.top_p=1.0")
    run_dir = tmp_path / "run"
    compared = ("head_to_head.prompts=4", "head_to_head.baselines=[base,sft]")
    done = srlm("run", file, *words, *judge, *compared, "iterations=1", "--run-dir", str(run_dir))
    judged, kept = rows(run_dir / "seed" / "judgements.jsonl"), rows(run_dir / "seed" / "eft_train.jsonl")
    assert len(judged) == 12 * 2 * 6  # prompts that are not held out, answers, samples
    scored = [row for row in judged if row["outcome"] == "scored"]
    assert 0 < len(kept) < len(scored)
    texts = {row["text"].strip() for row in scored}
    assert {row["completion"][0]["content"] for row in kept} <= texts
    manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    assert {"seed/judgements", "seed/eft_train", "m1/sft"} <= manifest.keys()
    made_by_sft = [f"sft/{name}" for name in ("sft", "judge_held_out", "answers", "vs_m0")]
    assert [name for name in manifest if name.startswith("sft/")] == made_by_sft
    assert {f"m0/{name}" for name in ("judge_held_out", "answers", "implicit_preferences")} == {
        name for name in manifest if name.startswith("m0/")
    }
    # M0 is no judge before it has learned the format, which is counted, not an error.
    base = manifest["m0/judge_held_out"]
    assert (base["pairs"], base["outcomes"]["scored"]) == (0, 0)
    assert (
        base["pairs_unscored"]
        == manifest["m1/judge_held_out"]["pairs_unscored"] + manifest["m1/judge_held_out"]["pairs"]
    )
    for stage in ("sft/vs_m0", "m1/vs_m0", "m1/vs_sft"):
        assert manifest[stage]["prompts"] == 4
    assert "(n = 0)" in done.stderr
    checked = srlm("replay", str(run_dir)).stdout
    assert "m1/vs_sft.jsonl: ids, verdicts, counts, 8 rows" in checked
    listed = srlm("status", str(run_dir)).stdout
    assert listed.count("done") == len(manifest)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("judge.prompt_file=no-such-file.txt", "judge.prompt_file"),
        ("seed_data.ift=[broken.jsonl]", "broken.jsonl, line 2: not valid JSON"),
        ("seed_data.ift=[empty.jsonl]", "no IFT example"),
        ("model.name=./nowhere", "no such folder"),
        ("model.chat_template=nowhere.jinja", "model.chat_template"),
        ("judge.sample=2", "did you mean 'judge.samples'?"),
    ],
)
def test_wrong_input_creates_no_run_directory(
    word: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt": \n', encoding="utf-8")
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    done = srlm("run", "quickstart", word, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()

"""The folder of several runs: its layout, its configuration, and the limits of controls."""

import datetime
import json

import pytest
from srlm import config as configuration
from srlm.errors import InputError
from srlm.run import lock
from srlm.run.run_dir import FORMAT, RunDir, config_file
from srlm.run.seed_folders import (
    control_config,
    has_several,
    open_folder,
    read_seeds_config,
    seed_runs,
    started_runs,
    with_common_date,
)


def build(**values):
    return configuration.build({"model": {"name": "m"}, "seed": 4, "seeds": 2, "control": "random"} | values)


def with_pairs(folder, *counts):
    folder.mkdir(parents=True, exist_ok=True)
    entry = {"format": FORMAT, "cache_key": "k", "seconds": 1.0, "finished": ""}
    manifest = {f"m{t}/pairs": {**entry, "rows": count} for t, count in enumerate(counts, 2)}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_a_control_follows_the_run_of_its_seed(tmp_path):
    runs = seed_runs(tmp_path, build())
    assert [run.name for run in runs] == ["seed-4", "seed-4-control", "seed-5", "seed-5-control"]
    assert [run.seed for run in runs] == [run.config.seed for run in runs] == [4, 4, 5, 5]
    assert [run.config.signal.kind for run in runs] == ["judge", "random"] * 2
    assert [run.of for run in runs] == [None, tmp_path / "seed-4", None, tmp_path / "seed-5"]
    assert not any(run.config.several_runs for run in runs)
    assert {run.config.name for run in runs} == {"run"}
    assert [run.name for run in seed_runs(tmp_path, build(control="none"))] == ["seed-4", "seed-5"]
    assert [run.name for run in seed_runs(tmp_path, build(seeds=1))] == ["seed-4", "seed-4-control"]


def test_a_control_takes_at_most_as_many_pairs(tmp_path):
    config = build(pairs={"min_margin": [1.0, 2.0], "max_count": 50})
    assert control_config(config, tmp_path / "none").pairs.max_count == 50
    control = control_config(config, with_pairs(tmp_path / "run", 30, 20))
    assert [control.at(t).pairs.max_count for t in (2, 3)] == [30, 20]
    assert [control.at(t).pairs.min_margin for t in (2, 3)] == [0, 0]
    assert control_config(config, with_pairs(tmp_path / "half", 30)).pairs.max_count == [30]


def test_a_control_differs_in_its_signal_and_its_limits_alone(tmp_path):
    config = build(
        control="none", signal={"kind": "function", "function": "a:b", "max_score": 9.0}, pairs={"keep_truncated": True}
    )
    changed = configuration.changes(config, control_config(config, tmp_path))
    assert set(changed) == {"signal.kind", "signal.function", "signal.max_score"}
    assert configuration.build(control_config(config, tmp_path).model_dump(mode="json", by_alias=True))


def test_open_and_resume(tmp_path):
    folder, config = tmp_path / "run", build()
    open_folder(folder, config)
    assert has_several(folder)
    assert read_seeds_config(folder) == config
    open_folder(folder, build(seeds=3))
    assert read_seeds_config(folder, ("seed=1",)) == build(seed=1, seeds=3)
    with lock.held(folder), pytest.raises(InputError, match="in use by process"), lock.held(folder):
        pass


def test_commands_for_one_run_name_the_runs(tmp_path):
    open_folder(tmp_path / "run", build())
    with pytest.raises(InputError, match="holds several runs; use one of them: none has begun"):
        config_file(tmp_path / "run")
    for name in ("seed-5", "seed-4"):
        RunDir.open(tmp_path / "run" / name, build(seeds=1, control="none"))
    with pytest.raises(InputError, match=r"use one of them: seed-4, seed-5$"):
        config_file(tmp_path / "run")
    assert started_runs(tmp_path / "run") == [tmp_path / "run" / name for name in ("seed-4", "seed-5")]


def test_a_folder_of_several_runs_is_no_run_and_the_other_way_round(tmp_path):
    one = build(seeds=1, control="none")
    open_folder(tmp_path / "several", build())
    with pytest.raises(InputError, match=r"holds several runs .* use another --run-dir"):
        RunDir.open(tmp_path / "several", one)
    RunDir.open(tmp_path / "one", one)
    with pytest.raises(InputError, match=r"is the directory of one run.*move it to NEW_DIR/seed-4"):
        open_folder(tmp_path / "one", build())
    with pytest.raises(InputError, match="holds the runs 'run', not 'other'"):
        open_folder(tmp_path / "several", build(name="other"))


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match=r"not empty \(it has mine.txt\)"):
        open_folder(tmp_path, build())
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_that_was_moved_into_the_folder_is_the_first_one(tmp_path):
    date = datetime.date(2020, 1, 31)
    RunDir.open(tmp_path / "run" / "seed-4", build(seeds=1, control="none", model={"name": "m", "date": date}))
    config = with_common_date(tmp_path / "run", build())
    assert config.model.date == date
    open_folder(tmp_path / "run", config)
    assert with_common_date(tmp_path / "run", build()).model.date == date
    RunDir.open(tmp_path / "run" / "seed-4", seed_runs(tmp_path / "run", config)[0].config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 2**31 - 2, "seeds": 3}, "the last seed must be below 2^31"),
        ({"seeds": 0}, "seeds"),
        ({"judge_data": {"kind": "meta_judge"}}, "judge_data.kind=meta_judge compares the judge's verdicts"),
        ({"signal": {"kind": "random"}}, "with signal.kind=random the run is a control itself"),
        ({"iterations": 1}, "M1 is trained without a signal"),
        ({"head_to_head": {"judge": "m2"}}, "head_to_head.judge=m2 a run and its control would have different judges"),
    ],
)
def test_settings_that_make_no_sense(values, message):
    with pytest.raises(InputError) as caught:
        build(**values)
    assert message in str(caught.value)


def test_a_judge_that_compares_nothing_may_be_any_model():
    build(head_to_head={"judge": "m2", "prompts": 0})
    build(head_to_head={"judge": "m2"}, control="none")
    build(seed=2**31 - 2)

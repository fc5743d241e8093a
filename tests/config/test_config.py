"""The configuration: what loads, what is refused with which message, and that code uses every field."""

import ast
import re
from pathlib import Path

import pytest
import srlm
import yaml
from pydantic import Field
from srlm import config as configuration
from srlm.config import Config, JudgeSection, LoraSection, Section, TrainingSection
from srlm.errors import InputError

MODEL = "model: {name: m}\n"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.yaml"


def load(file, text, *overrides):
    file.write_text(text, encoding="utf-8")
    return configuration.load(str(file), overrides)


def defaults(**sections):
    return configuration.build({"model": {"name": "m"}, **sections})


def flat(values, prefix=""):
    """Return nested sections as full key -> value."""
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return found


# --- what loads -------------------------------------------------------------------------------------------------------


PRESETS = {
    "cream",
    "dice",
    "iterative-rpo",
    "meta-rewarding",
    "roirl",
    "scpo",
    "self-taught",
    "spin",
    "sppo",
    "temporal",
}  # of papers; the user names a model


@pytest.mark.parametrize("name", configuration.packaged_names())
def test_packaged_configurations_load_and_round_trip(name, file):
    if name in PRESETS:
        with pytest.raises(InputError, match=r"key 'model' is missing; add it, or model.name=MODEL to the command"):
            configuration.load(name)
    loaded = configuration.load(name, ("model.name=mine",) if name in PRESETS else ())
    assert load(file, configuration.to_yaml(loaded)) == loaded
    assert loaded.name == name


def test_the_commands_of_the_family_load():
    """Those that override a packaged configuration, as documented."""
    page = (Path(__file__).parents[2] / "docs" / "family.md").read_text(encoding="utf-8")
    commands = re.findall(r"`srlm run (paper [^`]+)`", page)
    assert len(commands) == 3
    for command in commands:
        name, *words = command.split()
        assert configuration.load(name, tuple(words)).dpo.eval_steps is None


def test_agreement_needs_a_reference_that_has_a_ranking():
    with pytest.raises(InputError, match=r"signal\.confidence=rank_agreement .* set signal\.reference=base"):
        defaults(signal={"kind": "implicit", "confidence": "rank_agreement", "reference": "previous"})


def test_there_are_packaged_configurations():
    folder = Path(srlm.__file__).parents[2] / "configs"
    assert {"quickstart", "paper", *PRESETS} <= set(configuration.packaged_names())
    if folder.is_dir():
        assert configuration.packaged_names() == sorted(entry.stem for entry in folder.glob("*.yaml"))


@pytest.mark.parametrize(
    "values",
    [
        {"sft": {"lora": {}}},
        {"sft": {"lora": {"rank": 4, "target_modules": ["q_proj", "v_proj"]}}, "dpo": {"lora": {"alpha": 1}}},
        {"eft": {"from": "ranks"}},
        {"dpo": {"learning_rate": 3e-7, "min_learning_rate": 0.0}, "sft": {"learning_rate": 1e20}},
        {"prompts": {"keywords": []}, "seed_data": {"eft": []}},
        {"judge": {"score_pattern": "a: b # c\n\t(?P<score>[0-9]+)\u2028\x85\ufeff\x07", "prompt_file": " x "}},
        {"model": {"name": "Ünïcode 😀", "revision": "null"}},
        {"model": {"name": "yes", "revision": "1:30", "chat_template": "~"}},
        {"model": {"name": "12", "revision": "0123456"}},
        {"model": {"name": "m", "revision": "1234e56"}},  # a commit hash that looks like a number
        {"name": "1e5"},
    ],
)
def test_yaml_round_trip(values, file):
    config = defaults(**values)
    assert load(file, configuration.to_yaml(config)) == config


def test_every_key_is_written():
    config = defaults()
    written = yaml.safe_load(configuration.to_yaml(config))
    assert set(flat(written)) >= {"judge.samples", "eft.from", "sft.lora", "dpo.beta", "seed", "evaluate.judge_prompts"}
    assert len(flat(written)) == len(flat(config.model_dump()))


@pytest.mark.parametrize("number", ["1e-6", "1E-6", "1.e-6", "1.0e-06", "+1e-6", "0.000001", "10e-7"])
def test_scientific_notation(number, file):
    assert load(file, MODEL + f"dpo: {{learning_rate: {number}}}").dpo.learning_rate == 1e-6
    assert load(file, MODEL, f"dpo.learning_rate={number}").dpo.learning_rate == 1e-6


def test_integers_are_accepted_as_floats(file):
    assert load(file, MODEL + "judge: {temperature: 1}").judge.temperature == 1.0


def test_byte_order_mark_and_windows_line_ends(file):
    file.write_bytes(b"\xef\xbb\xbfmodel: {name: m}\r\njudge:\r\n  samples: 2\r\n")
    assert configuration.load(str(file)).judge.samples == 2


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["judge.samples=7"], {"judge.samples": 7}),
        (["judge.samples=7", "judge.samples=8"], {"judge.samples": 8}),
        (["seed=1", "iterations=2"], {"seed": 1, "iterations": 2}),
        (["eft.from=ranks"], {"eft.from": "ranks"}),
        (["judge.score_pattern=a=(?P<score>b)"], {"judge.score_pattern": "a=(?P<score>b)"}),
        (["sft.lora.rank=4"], {"sft.lora.rank": 4, "sft.lora.alpha": 32, "sft.lora.target_modules": "all-linear"}),
        (["sft.lora.rank=4", "sft.lora.alpha=8"], {"sft.lora.rank": 4, "sft.lora.alpha": 8}),
        (["sft.lora={rank: 4}"], {"sft.lora.rank": 4}),
        (["sft.lora.target_modules=[q_proj]"], {"sft.lora.target_modules": ["q_proj"]}),
        (["seed_data.ift=[packaged, a.jsonl]"], {"seed_data.ift": ["packaged", "a.jsonl"]}),
        (["seed_data.eft=[]"], {"seed_data.eft": []}),
        (["dpo.lora=null"], {"dpo.lora": None}),
        (["dpo.lora="], {"dpo.lora": None}),
        (["prompts.model=a/b"], {"prompts.model": "a/b"}),
        (["model.name=other"], {"model.name": "other"}),
        (["judge.justify=false"], {"judge.justify": False}),
    ],
)
def test_overrides_take_precedence_over_the_file(overrides, expected, file):
    config = load(file, MODEL + "judge: {samples: 2}\ndpo: {lora: {rank: 3}}\neft: {from: judgements}", *overrides)
    found = flat(config.model_dump(mode="json", by_alias=True))
    assert {key: found[key] for key in expected} == expected
    assert config.judge.top_p == 0.9  # keys beside an overridden one are kept


def test_a_packaged_configuration_can_be_overridden():
    config = configuration.load("quickstart", ("iterations=2", "judge.samples=1"))
    assert (config.iterations, config.judge.samples) == (2, 1)
    assert configuration.changes(configuration.load("quickstart"), config) == {
        "iterations": "3 → 2",
        "judge.samples": "3 → 1",
    }


# --- what is refused --------------------------------------------------------------------------------------------------

WRONG = [
    # unknown keys
    ("juge: {samples: 2}", ["unknown key 'juge'; did you mean 'judge'?"]),
    ("modl: {name: m}", ["unknown key 'modl'; did you mean 'model'?"]),
    ("iteration: 2", ["unknown key 'iteration'; did you mean 'iterations'?"]),
    ("judge: {sample: 2}", ["unknown key 'judge.sample'; did you mean 'judge.samples'?"]),
    ("sft: {learning-rate: 2.0}", ["unknown key 'sft.learning-rate'; did you mean 'sft.learning_rate'?"]),
    ("sft: {lora: {rnk: 2}}", ["unknown key 'sft.lora.rnk'; did you mean 'sft.lora.rank'?"]),
    ("dpo: {lora: {alfa: 2}}", ["unknown key 'dpo.lora.alfa'; did you mean 'dpo.lora.alpha'?"]),
    ("eft: {form: ranks}", ["unknown key 'eft.form'; did you mean 'eft.from'?"]),
    ("beta: 0.2", ["unknown key 'beta'; did you mean 'dpo.beta'?"]),
    ("min_margin: 1", ["unknown key 'min_margin'; did you mean 'pairs.min_margin'?"]),
    ("zzzzzzzz: 1", ["unknown key 'zzzzzzzz'; `srlm config --describe` lists the keys"]),
    ("judge: {samples: 0}\njuge: 1", ["judge.samples: ", "; ", "unknown key 'juge'"]),
    ("judge: {1: 2}", ["judge.1: Keys should be strings"]),
    # wrong types
    ('judge: {samples: "3"}', ["judge.samples: ", "valid integer", "found '3'"]),
    ("judge: {samples: 3.0}", ["judge.samples: ", "valid integer", "found 3.0"]),
    ("judge: {samples: true}", ["judge.samples: ", "valid integer", "found True"]),
    ("judge: {samples: null}", ["judge.samples: ", "valid integer", "found None"]),
    ("judge: {justify: 1}", ["judge.justify: ", "valid boolean", "found 1"]),
    ("judge: 3", ["judge: ", "found 3"]),
    ("judge: [1]", ["judge: ", "found [1]"]),
    ("judge:", ["judge: ", "found None"]),
    ("dpo: {learning_rate: fast}", ["dpo.learning_rate: ", "valid number", "found 'fast'"]),
    ("dpo: {loss_type: ipo}", ["dpo.loss_type: ", "valid list", "found 'ipo'"]),
    ("name: 2024", ["name: ", "valid string", "found 2024"]),
    ("eft: {from: rank}", ["eft.from: ", "'ranks' or 'judgements'", "found 'rank'"]),
    ("engine: {kind: VLLM}", ["engine.kind: ", "'vllm'", "found 'VLLM'"]),
    ("seed_data: {ift: [1]}", ["seed_data.ift.0: ", "valid string", "found 1"]),
    ("sft: {lora: {target_modules: 3}}", ["sft.lora.target_modules: ", "found 3"]),
    # out of range
    ("judge: {samples: 0}", ["judge.samples: ", "greater than or equal to 1", "found 0"]),
    ("judge: {samples: -1}", ["judge.samples: ", "greater than or equal to 1", "found -1"]),
    ("judge: {temperature: -0.1}", ["judge.temperature: ", "greater than or equal to 0", "found -0.1"]),
    ("judge: {temperature: .nan}", ["judge.temperature: ", "finite", "found nan"]),
    ("judge: {temperature: .inf}", ["judge.temperature: ", "finite", "found inf"]),
    ("dpo: {beta: 1e999}", ["dpo.beta: ", "finite"]),
    ("judge: {top_p: 0}", ["judge.top_p: ", "greater than 0"]),
    ("judge: {top_p: 1.01}", ["judge.top_p: ", "less than or equal to 1"]),
    ("sft: {learning_rate: -1e-6}", ["sft.learning_rate: ", "greater than 0", "found -1e-06"]),
    ("sft: {dropout: 1}", ["sft.dropout: ", "less than 1"]),
    ("sft: {lora: {rank: 0}}", ["sft.lora.rank: ", "greater than or equal to 1"]),
    ("pairs: {min_margin: -1}", ["pairs.min_margin: ", "greater than or equal to 0"]),
    ("pairs: {min_margin: [0, -1]}", ["pairs.min_margin.1: ", "greater than or equal to 0", "found -1"]),
    ("suppliers: {human: true}", ["suppliers.human=true reads the column `response`", "set prompts.source=files"]),
    ("signal: {kind: human}", ["signal.kind=human prefers human responses; set suppliers.human=true"]),
    ("candidates: {per_prompt: 1}", ["candidates.per_prompt=1 gives no pairs", "set at least 2"]),
    ("candidates: {per_prompt: 1}\nsuppliers: {model: first}", ["candidates.per_prompt=1 gives no pairs"]),
    ("pairs: {max_count: 0}", ["pairs.max_count: ", "greater than or equal to 1", "found 0"]),
    ("pairs: {max_count: [9, null]}", ["pairs.max_count.1: ", "valid integer"]),
    ("pairs: {min_margin: wide}", ["pairs.min_margin: ", "valid number", "found 'wide'"]),
    ("pairs: {rho: [0.1, 2]}", ["pairs.rho.1: ", "less than or equal to 1"]),
    ("pairs: {rho: []}", ["pairs.rho: ", "at least 1 item"]),
    ("candidates: {per_prompt: 0}", ["candidates.per_prompt: ", "greater than or equal to 1"]),
    ("seed: -1", ["seed: ", "greater than or equal to 0"]),
    ("seed: 2147483648", ["seed: ", "less than 2147483648"]),
    ("iterations: 0", ["iterations: ", "greater than or equal to 1"]),
    ("seed_data: {ift: []}", ["seed_data.ift: ", "at least 1 item"]),
    *((f"name: {name}", ["name: ", "pattern"]) for name in ("a/b", "..", '""', '"a\\n"', "' a'", "ü")),
    # settings that do not go together
    ("sft: {batch_size: 3, micro_batch_size: 2}", ["sft: batch_size must be a multiple of micro_batch_size"]),
    ("dpo: {min_learning_rate: 1.0}", ["dpo: min_learning_rate must not be above learning_rate"]),
    ("dpo: {loss_weights: [1.0, 0.2]}", ["dpo: loss_weights must have one number per loss in loss_type (1)"]),
    ("dpo: {loss_weights: [0.0]}", ["dpo.loss_weights", "greater than 0"]),
    (
        "dpo: {label_smoothing: 0.1}",
        ["dpo: label_smoothing applies to these losses only: aot, aot_unpaired, exo_pair, robust"],
    ),
    ("dpo: {label_smoothing: 0.5, loss_type: [robust]}", ["dpo.label_smoothing", "less than 0.5"]),
    ("dpo: {loss_type: [exo_pair]}", ["dpo: the loss exo_pair needs a label_smoothing above 0"]),
    (
        "dpo: {loss_type: [simpo, apo_zero]}",
        ["dpo: the loss simpo can be combined with these losses only: dpop, hinge, ipo, nll"],
    ),
    ("dpo: {loss_type: [aot, nll]}", ["dpo: the loss nll can be combined with these losses only: dpop, hinge"]),
    ("dpo: {dpop_lambda: -1.0}", ["dpo.dpop_lambda", "greater than or equal to 0"]),
    (
        "pairs: {weight: margin}\ndpo: {loss_type: [sigmoid, aot]}",
        ["pairs.weight=margin: TRL's loss aot takes no weights; use losses among dpop"],
    ),
    ("dpo: {simpo_gamma: -1.0}", ["dpo.simpo_gamma"]),
    ("prompts: {examples_seed: 0, examples_generated: 0}", ["prompts.examples_seed", "must not both be 0"]),
    ("judge: {justify: false, score_pattern: '(?P<score>.)'}", ["judge.justify=false", "judge.score_pattern"]),
    ("eft: {from: ranks}\njudge: {score_pattern: '(?P<score>.)'}", ["eft.from=ranks", "judge.score_pattern"]),
    ("judge: {score: expected, max_score: 10}", ["judge.score=expected", "judge.max_score"]),
    ("judge: {score: expected, max_score: 4.5}", ["judge.score=expected", "judge.max_score"]),
    ("evaluate: {preferences: {held_out: f}}", ["held_out is reserved for the run's own held-out answers"]),
    ("head_to_head: {judge: m0}", ["head_to_head.judge=m0", "m1 to m3"]),
    ("head_to_head: {judge: m4}", ["head_to_head.judge=m4", "m1 to m3"]),
    ("head_to_head: {judge: endpoint}", ["head_to_head.judge=endpoint needs endpoint.model"]),
    ("head_to_head: {judge: endpoint, by: pointwise}\nendpoint: {model: m}", ["head_to_head.by=pointwise", "endpoint"]),
    ("dpo: {eval_steps: 5}\ntrain: {kind: sft}", ["dpo.eval_steps", "train.kind=sft"]),
    ("dpo: {eval_steps: 5}\nhead_to_head: {prompts: 0}", ["dpo.eval_steps", "head_to_head.prompts"]),
    ("dpo: {eval_steps: 5}\nhead_to_head: {judge: m2}", ["dpo.eval_steps needs its judge while M2 is trained"]),
    ("judge: {score: expected}\ntrain: {kind: sft}", ["train.kind=sft", "judge.score"]),
]


@pytest.mark.parametrize(("text", "parts"), WRONG, ids=[text.replace("\n", " ") for text, _ in WRONG])
def test_wrong_files(text, parts, file):
    with pytest.raises(InputError) as error:
        load(file, MODEL + text)
    assert str(error.value).startswith(f"{file}: ")
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"", ["key 'model' is missing; add it"]),
        (b"# nothing\n", ["key 'model' is missing"]),
        (b"model: {}", ["key 'model.name' is missing"]),
        (b"model: {nmae: m}", ["key 'model.name' is missing", "unknown key 'model.nmae'; did you mean 'model.name'?"]),
        (b"- a", ["expected a mapping of settings, found list"]),
        (b"just a text", ["expected a mapping of settings, found str"]),
        (b"model: [", ["not valid YAML", "line 1, column 9"]),
        (b"model: {name: m}\njudge:\n\tsamples: 3", ["not valid YAML", "line 3"]),
        (b"a: b: c", ["not valid YAML", "line 1"]),
        (b"a: !!python/object/apply:os.getcwd []", ["not valid YAML", "python/object/apply:os.getcwd"]),
        (b"model: {name: \xff}", ["not UTF-8; save the file as UTF-8"]),
        (b"\x00", ["not valid YAML"]),
    ],
)
def test_files_that_are_not_a_configuration(data, parts, file):
    file.write_bytes(data)
    with pytest.raises(InputError) as error:
        configuration.load(str(file))
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("source", ["quickstrat", "no/such/file.yaml", "quickstart.yaml"])
def test_a_source_that_does_not_exist(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        configuration.load(source)
    for part in (f"configuration '{source}'", "No such file", "paper", "quickstart"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["judge.samples=x"], ["command line: judge.samples: ", "valid integer", "found 'x'"]),
        (["judge.samples=-2"], ["command line: judge.samples: ", "greater than or equal to 1"]),
        (["judge.temperature=.nan"], ["command line: judge.temperature: ", "finite"]),
        (["judge.smaples=2"], ["command line: unknown key 'judge.smaples'; did you mean 'judge.samples'?"]),
        (["judg=2"], ["command line: unknown key 'judg'; did you mean 'judge'?"]),
        (["sft.lora.rnk=4"], ["command line: unknown key 'sft.lora.rnk'; did you mean 'sft.lora.rank'?"]),
        (["judge=3"], ["command line: judge: ", "found 3"]),
        (["model="], ["command line: model: ", "found None"]),
        (["model.name="], ["command line: model.name: ", "valid string"]),
        (["judge.samples"], ["'judge.samples': expected key=value, for example judge.samples=3"]),
        (["--samples"], ["'--samples': expected key=value"]),
        (["=3"], ["'=3': expected key=value"]),
        (["judge.samples=["], ["'judge.samples=['", "not valid YAML"]),
        (["seed=1", "judge.samples=0"], ["command line: judge.samples: "]),
        # the override's key is a prefix of the wrong key, or the other way round
        (["judg.samples=2"], ["command line: unknown key 'judg'; did you mean 'judge'?"]),
        (["judge.samples.x=2"], ["command line: judge.samples: ", "valid integer"]),
        (["sft.lora={rnk: 4}"], ["command line: unknown key 'sft.lora.rnk'; did you mean 'sft.lora.rank'?"]),
        (["sft.lora.target_modules=3"], ["command line: sft.lora.target_modules: ", "found 3"]),
        (["seed_data.ift=[1]"], ["command line: seed_data.ift.0: ", "found 1"]),
        (["sft.batch_size=3", "sft.micro_batch_size=2"], ["command line: sft: batch_size must be a multiple"]),
    ],
)
def test_wrong_overrides(overrides, parts, file):
    with pytest.raises(InputError) as error:
        load(file, MODEL, *overrides)
    for part in parts:
        assert part in str(error.value)


def test_an_error_in_the_file_is_not_attributed_to_the_command_line(file):
    with pytest.raises(InputError) as error:
        load(file, MODEL + "judge: {samples: 0}", "judge.top_p=0.5", "judge.sample=1")
    assert f"{file}: judge.samples: " in str(error.value)
    assert "command line: unknown key 'judge.sample'" in str(error.value)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        defaults().judge.samples = 5


# --- comparing and describing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, []),
        ({"seed": 1}, ["seed"]),
        ({"eft": {"from": "ranks"}, "judge": {"top_p": 0.5, "samples": 3}}, ["eft.from", "judge.top_p"]),
        ({"seed_data": {"ift": ["packaged", "x"]}}, ["seed_data.ift"]),
        ({"sft": {"lora": {}}}, ["sft.lora.alpha", "sft.lora.rank", "sft.lora.target_modules"]),
        ({"model": {"name": "other", "revision": "r"}}, ["model.name", "model.revision"]),
    ],
)
def test_changes(values, keys):
    one, other = defaults(), configuration.build({"model": {"name": "m"}} | values)
    assert list(configuration.changes(one, other)) == list(configuration.changes(other, one)) == keys


def test_every_field_is_described():
    rows = configuration.describe()
    keys = [key for key, _, _ in rows]
    assert len(set(keys)) == len(keys)
    lora = {"sft": {"lora": {}}, "dpo": {"lora": {}}}
    assert set(keys) == set(flat(defaults(**lora).model_dump(mode="json", by_alias=True))) | {"sft.lora", "dpo.lora"}
    for key, _, text in rows:
        assert len(text.split()) >= 2, key
        assert text[0].isupper() or text[0] == "`", key
        assert text.endswith((".", "…")), key
        assert "\n" not in text, key


def test_described_defaults_are_the_defaults():
    built = flat(defaults(sft={"lora": {}}, dpo={"lora": {}}).model_dump(mode="json", by_alias=True))
    for key, default, _ in configuration.describe():
        if key == "model.name":
            assert default == "(required)"
        else:
            assert yaml.safe_load(default) == built.get(key), key


# --- code uses every field --------------------------------------------------------------------------------------------


def attribute_reads(source):
    """Return every (owner, attribute) that the code reads; an owner is a name or an attribute, and `_x` counts as x."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        owner = node.value
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else None
        if name is not None:
            found.add((name.lstrip("_"), node.attr))
    return found


def package_reads():
    folder = Path(srlm.__file__).parent
    files = [file for file in folder.rglob("*.py") if file.parent != folder / "config"]
    assert len(files) > 20
    return set().union(*(attribute_reads(file.read_text(encoding="utf-8")) for file in files))


def readers(model=Config):
    """Return full key -> the (owner, attribute) reads that count as reading it."""
    found = {}
    for name, field in model.model_fields.items():
        found[name] = {("config", name), ("loaded", name)}
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for own in section.model_fields:
                owners = {name, "section"} if own in TrainingSection.model_fields else {name}
                shared = owners if issubclass(section, TrainingSection) else {name}
                found[f"{name}.{own}"] = {(owner, own) for owner in shared}
    return found | {f"lora.{own}": {("lora", own)} for own in LoraSection.model_fields}


def never_read(wanted, reads):
    return sorted(key for key, ways in wanted.items() if not ways & reads)


def test_every_field_is_read():
    assert never_read(readers(), package_reads()) == []


def test_an_unread_field_would_be_found():
    class Judge(JudgeSection):
        never_read: int = Field(0, description="A field that no code reads.")

    class Training(TrainingSection):
        never_read: int = Field(0, description="Another one.")

    class Fake(Config):
        judge: Judge = Judge()
        dpo: Training = Training()
        never_read: int = 0

    found = never_read(readers(Fake), package_reads())
    assert found == ["dpo.never_read", "judge.never_read", "never_read"]


def test_each_field_is_read_by_itself():
    reads = package_reads()
    for key, ways in readers().items():
        same = sorted(other for other, others in readers().items() if others & reads <= ways)
        assert never_read(readers(), reads - ways) == same
        assert key in same


@pytest.mark.parametrize(
    ("code", "counts"),
    [
        ("judge.samples", True),
        ("config.judge.samples", True),
        ("self._judge.samples + 1", True),
        ("f(range(self.config.judge.samples))", True),
        ("judge().samples", False),
        ("eft.samples", False),
        ("judge_section.samples", False),
        ("config.samples", False),
        ("judge.samples = 3", False),
        ("del judge.samples", False),
        ("judge['samples']", False),
        ("samples", False),
        ("'judge.samples'  # judge.samples", False),
        ("dict(samples=judge)", False),
    ],
)
def test_what_counts_as_reading(code, counts):
    assert (never_read({"judge.samples": readers()["judge.samples"]}, attribute_reads(code)) == []) is counts


def test_shared_training_fields_are_read_of_a_section():
    wanted = readers()
    assert wanted["sft.max_length"] == {("sft", "max_length"), ("section", "max_length")}
    assert wanted["dpo.max_length"] == {("dpo", "max_length"), ("section", "max_length")}
    assert wanted["dpo.beta"] == {("dpo", "beta")}
    assert wanted["engine.batch_size"] == {("engine", "batch_size")}
    assert wanted["seed"] == {("config", "seed"), ("loaded", "seed")}

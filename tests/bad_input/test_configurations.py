"""Wrong configurations, wrong command-line overrides, and the files that they refer to."""

from __future__ import annotations

from tests.bad_input.cases import Case, Content, Shell, of

MODEL = "model: {name: m}\n"


def file(name: str, text: Content, *says: str) -> Case:
    return Case(name, ("run", "c.yaml"), says, {"c.yaml": text})


def key(name: str, text: str, *says: str) -> Case:
    return file(name, MODEL + text, "c.yaml", *says)


PATTERN = "judge.score_pattern"  # needs other settings than the quickstart's


def word(name: str, override: str, *says: str) -> Case:
    return Case(name, ("run", "quickstart", override), says)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}]\n"
    for before, name in zip("abcdefghijklmnopqrstuvw", "bcdefghijklmnopqrstuvwx", strict=True)
)
YAML = [
    file("an empty file", "", "c.yaml", "key 'model' is missing", "add it"),
    file("a list", "- model\n", "c.yaml", "expected a mapping of settings", "found list"),
    file("a text", "model", "c.yaml", "expected a mapping of settings", "found str"),
    file("broken YAML", "model: [\n", "c.yaml", "not valid YAML", "line 2", "fix the file"),
    file("tabs", MODEL + "judge:\n\tsamples: 3", "c.yaml", "not valid YAML", "line 3", "fix the file"),
    file("Latin-1", "model: {name: é}".encode("latin-1"), "c.yaml", "not UTF-8", "save the file as UTF-8"),
    file("a Python object", "model: !!python/object/apply:os.getcwd []", "c.yaml", "line 1", "python/object", "fix"),
    file("a date that does not exist", MODEL + "name: 2026-02-30", "c.yaml", "not valid YAML", "day", "fix the file"),
    file("a list without end", MODEL + "seed: " + "[" * 5000, "c.yaml", "not valid YAML", "fix the file"),
    file(
        "scores that are no win rates",
        MODEL + "dpo: {loss_type: [sppo]}",
        "sppo takes scores",
        "signal.kind=judge go up to 5",
    ),
    file("a bomb of aliases", MODEL + BOMB + "judge: {samples: *x}", "c.yaml", "judge.samples", "valid integer"),
    file("NUL bytes", b"\0\0", "c.yaml", "not valid YAML", "fix the file"),
    Case(
        "a missing file", ("run", "no.yaml"), ("'no.yaml'", "No such file", "use a YAML file or one of", "quickstart")
    ),
    Case("a folder", ("run", "c.yaml"), ("'c.yaml'", "Is a directory", "use a YAML file or one of"), {"c.yaml/x": ""}),
    Case("nothing to show", ("config",), ("CONFIG is missing", "use a YAML file", "one of")),
]
KEYS = [
    key("a key twice", "seed: 1\nseed: 2", "the key 'seed' appears twice", "line 3", "fix the file"),
    key("an unknown section", "juge: {samples: 2}", "unknown key 'juge'", "did you mean 'judge'?"),
    key("an unknown key", "judge: {sample: 2}", "unknown key 'judge.sample'", "did you mean 'judge.samples'?"),
    key("a key like no other", "zzzzzzz: 2", "unknown key 'zzzzzzz'", "`srlm config --describe` lists the keys"),
    key("a text for a number", 'judge: {samples: "3"}', "judge.samples", "should be a valid integer", "found '3'"),
    key("a fraction for a count", "judge: {samples: 2.5}", "judge.samples", "should be a valid integer", "found 2.5"),
    key("a number for a section", "judge: 3", "judge: expected a section of keys", "judge: {key: value}", "found 3"),
    key("a section that is null", "judge:", "judge: expected a section of keys", "judge: {key: value}"),
    key(
        "a text for a list", "seed_data: {ift: in.jsonl}", "seed_data.ift", "should be a valid list", "found 'in.jsonl'"
    ),
    key(
        "a blank keyword", 'prompts: {keywords: [map, " "]}', "prompts.keywords", "never occurs; remove it", "found ' '"
    ),
    key("an invisible keyword", 'prompts: {keywords: ["\\u200b"]}', "prompts.keywords", "never occurs; remove it"),
    key("NaN", "judge: {temperature: .nan}", "judge.temperature", "should be a finite number", "found nan"),
    key("infinity", "dpo: {beta: .inf}", "dpo.beta", "should be a finite number", "found inf"),
    key("a negative count", "judge: {samples: -1}", "judge.samples", "greater than or equal to 1", "found -1"),
    key("a negative rate", "sft: {learning_rate: -1.0}", "sft.learning_rate", "greater than 0", "found -1.0"),
    key("a word that is no choice", "eft: {from: rank}", "eft.from", "'ranks' or 'judgements'", "found 'rank'"),
    key("a NUL in a file's name", 'judge: {prompt_file: "a\\0b"}', "judge.prompt_file", "'\\x00'", "remove it"),
    key("half a character", 'seed_data: {ift: ["\\uD800"]}', "seed_data.ift", "'\\ud800'", "remove it"),
    key("a list for a mapping", "evaluate: {preferences: [a]}", "evaluate.preferences: expected a section of keys"),
    key("a set's name", "evaluate: {preferences: {A-b: x}}", "evaluate.preferences.A-b: ", "should match", "'A-b'"),
    key("a key that is a number", "1: 2", "1: Keys should be strings", "found 1"),
    key("a key that is a list", "? [1]\n: 2", "not valid YAML", "line 2", "fix the file"),
    key("settings that do not fit", "sft: {batch_size: 3, micro_batch_size: 2}", "sft: batch_size", "a multiple"),
    word("no equals sign", "judge.samples", "'judge.samples'", "expected key=value", "for example judge.samples=3"),
    word("an unknown word", "judge.smaples=2", "command line", "unknown key 'judge.smaples'", "did you mean"),
    word("a word of a wrong type", "judge.samples=x", "command line: judge.samples", "valid integer", "found 'x'"),
    word("a word that is no YAML", "judge.samples=[", "'judge.samples=['", "not valid YAML"),
    word("a word without end", "seed=" + "[" * 5000, "'seed=[", "not valid YAML"),
]
BOTH = "{prompt} {response}"


def named(key_: str, value: str, *says: str, content: Content | None = None, extra: str = "seed=1") -> Case:
    files = {} if content is None else {"file": content}
    return Case(f"{key_}={value} {says[1]}", ("run", "quickstart", f"{key_}={value}", extra), (key_, *says), files)


MISSING = ("No such file", "use another file")
NAMED = [
    named("judge.prompt_file", "no.txt", "'no.txt'", *MISSING),
    named("judge.prompt_file", "file", "'file'", "{response} occurs 0 times", "exactly once", content="{prompt}"),
    named("judge.prompt_file", "file", "'file'", "{prompt} occurs 0 times", "exactly once", content="{response}"),
    named("judge.prompt_file", "file", "'file'", "{prompt} occurs 2 times", "exactly once", content=BOTH + "{prompt}"),
    named("judge.prompt_file", "file", "'file'", "not UTF-8", "save it as UTF-8", content=b"\xe9 {prompt} {response}"),
    named("head_to_head.prompt_file", "no.txt", "'no.txt'", *MISSING),
    named("head_to_head.prompt_file", "file", "'file'", "{first} occurs 0 times", "exactly once", content="{prompt}"),
    named(PATTERN, "'('", "unclosed group", "fix it", extra="eft.from=judgements"),
    named(PATTERN, "'[0-9]'", "no group named `score`", "wrap the number", extra="eft.from=judgements"),
    named("model.chat_template", "no.jinja", "'no.jinja'", "No such file", "use a file"),
    named("model.chat_template", "file", "'file', line 2", "unexpected", "fix the template", content="{{ a }}\n{{ b }"),
]
READ = [
    Case(f"{override} missing", ("run", "quickstart", override), ("no.jsonl", "No such file", remedy))
    for override, remedy in (
        ("head_to_head.prompt_files=[no.jsonl]", "use another file"),
        ("evaluate.preferences={mine: no.jsonl}", "use a file of human preferences"),
        ("evaluate.instructions=no.jsonl", "use another file"),
        ("launch.accelerate_config=no.jsonl", "use another file"),
    )
]


@of(*YAML, *KEYS)
def test_a_configuration_is_refused(case: Case, shell: Shell) -> None:
    shell.refuses(case)


@of(*NAMED, *READ)
def test_a_file_that_a_configuration_names_is_refused(case: Case, shell: Shell) -> None:
    if PATTERN in case.words[2]:
        case = Case(case.name, (*case.words, "judge.justify=true"), case.says)
    shell.refuses(case)

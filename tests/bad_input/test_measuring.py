"""The commands that measure and export: data that is missing, broken or of another form."""

from __future__ import annotations

from tests.bad_input.cases import Case, Content, Shell, lines, of

MODEL = ("--model", "./m")
FIX = "fix or remove"


def command(*words: str, data: str) -> tuple[str, ...]:
    return (*words, data, "in.jsonl", "--out", "out")


JUDGE = command("eval", "judge", *MODEL, data="--data")
RULES = command("eval", "instructions", *MODEL, data="--data")
COMPARE = command("eval", "compare", "--a", "./m", "--b", "./m", "--judge", "./m", data="--prompts")
ALPACA = ("export", "alpaca-eval", *MODEL, "--name", "mine", "--instructions", "in.jsonl", "--out", "out.json")
BENCH = ("export", "mt-bench", *MODEL, "--questions", "in.jsonl", "--out", "out.jsonl")
RULE = {"key": 1, "prompt": "Say tea.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
QUESTION = {"question_id": 1, "category": "math", "turns": ["a"]}
PANDA = {"instruction": "a", "input": "", "response1": "b", "response2": "c", "annotator1": 1, "annotator2": 1}
CHOSEN = {"prompt": "a", "chosen": "b", "rejected": "c"}
WHERE = "in.jsonl, line 1"


def at(name: str, words: tuple[str, ...], content: Content, *says: str) -> Case:
    return Case(f"{' '.join(words[:2])}: {name}", words, says, {"in.jsonl": content})


ALL = (JUDGE, RULES, COMPARE, ALPACA, BENCH)
CASES = [
    *(Case(f"{' '.join(words[:2])}: no file", words, ("in.jsonl: no such file", "check the path")) for words in ALL),
    *(at("broken JSON", words, '{"prompt": ', WHERE, "not valid JSON", FIX) for words in ALL),
    *(at("an empty file", words, "\n", "in.jsonl", "use") for words in ALL),
    *(at("a number", words, "3\n", WHERE) for words in ALL),
    at("unknown fields", JUDGE, lines({"a": 1}), "in.jsonl, line 1", "unknown preference format", "expected an Open"),
    at("gzip cut off", JUDGE, b"\x1f\x8b\x08\0\0\0", "in.jsonl", "ended before", "use a file of human preferences"),
    at(
        "a label of 3",
        JUDGE,
        lines({"input": "a", "output_1": "b", "output_2": "c", "label": 3}),
        WHERE,
        "'label' must be",
    ),
    at("no third label", JUDGE, lines(PANDA), WHERE, "'annotator3' must be 0, 1 or 2"),
    at(
        "no rejected",
        JUDGE,
        lines({"prompt": "a", "chosen": "b"}),
        WHERE,
        "expected 'prompt' with 'chosen' and 'rejected'",
    ),
    at(
        "an empty answer",
        JUDGE,
        lines({**CHOSEN, "chosen": " "}),
        WHERE,
        "'content' is empty",
        "expected a non-empty string",
    ),
    at("another kind after", JUDGE, lines(CHOSEN, {"output_1": "a"}), "in.jsonl, line 2", "expected 'prompt' with"),
    at("a missing field", RULES, lines({"key": 1}), WHERE, "'prompt' is missing", "has:"),
    at(
        "an unknown kind",
        RULES,
        lines({**RULE, "instruction_id_list": ["punctuation:no_coma"]}),
        WHERE,
        "unknown instruction",
        "'punctuation:no_comma'",
    ),
    at("an unknown argument", RULES, lines({**RULE, "kwargs": [{"n": 1}]}), WHERE, "takes no arguments", "remove it"),
    at(
        "lists of two lengths",
        RULES,
        lines({**RULE, "kwargs": []}),
        WHERE,
        "must be non-empty lists of the same length",
    ),
    at("a row twice", RULES, lines(RULE, RULE), "in.jsonl, line 2", "appear twice", "remove one of them"),
    at("no prompt", COMPARE, lines({"a": 1}), WHERE, "no prompt", "expected one of the fields prompt"),
    at("an empty prompt", COMPARE, lines({"prompt": " "}), WHERE, "is empty"),
    at("no instruction", ALPACA, lines({"a": 1}), WHERE, "`instruction` must be a non-empty string", "fix or remove"),
    at(
        "a data set of 3",
        ALPACA,
        lines({"instruction": "a", "dataset": 3}),
        WHERE,
        "`dataset` must be a string",
        "fix or remove it",
    ),
    at(
        "turns of numbers",
        BENCH,
        lines({**QUESTION, "turns": [1]}),
        WHERE,
        "`turns` must be a list of non-empty strings",
        "fix it",
    ),
    at("a question twice", BENCH, lines(QUESTION, QUESTION), "in.jsonl, line 2", "appears twice", "change one of them"),
    at("no category", BENCH, lines({**QUESTION, "category": None}), WHERE, "`category` must be a string", "add it"),
    at(
        "another ending",
        (*ALPACA[:-1], "out.txt"),
        lines({"instruction": "a"}),
        "out.txt",
        "must end with .json",
        "use another --out",
    ),
    at("no such model", ALPACA, lines({"instruction": "a"}), "model './m'", "no such folder", "use a folder"),
    at("no such model", JUDGE, lines(CHOSEN), "model './m'", "no such folder", "use a folder"),
    Case(
        "export lm-eval: no model",
        ("export", "lm-eval", *MODEL, "--tasks", "a", "--out", "o"),
        ("m: not a model directory", "no config.json", "use one that srlm saved"),
    ),
    Case(
        "export lm-eval: no task",
        ("export", "lm-eval", "--model", "n", "--tasks", ",", "--out", "o"),
        ("invalid lm_eval tasks []", "use at least one name"),
        {"n/config.json": "{}"},
    ),
    Case(
        "eval judge: a folder of something else",
        JUDGE,
        ("out: not empty", "not an output of this command", "another --out"),
        {"in.jsonl": lines(CHOSEN), "out/notes.txt": "mine"},
    ),
    Case(
        "eval judge: neither model nor run",
        command("eval", "judge", data="--data"),
        ("neither --model nor --run is set", "add one of them"),
        {"in.jsonl": lines(CHOSEN)},
    ),
    Case(
        "eval judge: out is a file",
        (*JUDGE[:-1], "in.jsonl"),
        ("'--out'", "'in.jsonl' is a file"),
        {"in.jsonl": lines(CHOSEN)},
    ),
]


@of(*CASES)
def test_data_is_refused(case: Case, shell: Shell) -> None:
    shell.refuses(case)

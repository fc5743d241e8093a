"""The rules of docs/verdicts.md with Python's compiled `re`: the baseline of the bench.

Optimised for speed: `re` is fast for patterns that start with a literal or a character set, and slow for those that
start with a look-behind or ignore case, hence the spelling of the word. No search is done twice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Verdict = tuple[str, float | None]
MISSING: Verdict = ("missing", None)
OUT_OF_RANGE: Verdict = ("out_of_range", None)
CONFLICTING: Verdict = ("conflicting", None)

# What was said in a reply (docs/replies.md), in the forms that the documented examples and the replies have. Starts
# with `<` or `[`, so `re` skips to these; this still works with IGNORECASE, since they have no case.
TAG = re.compile(
    r"<(?:(?P<close>/)?(?:\w+[:_-])?(?P<think>think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|monologue)"
    r"(?:\s[^<>\n]*)?>|/s>|[eb]os>|(?:start|end)_of_turn>|</?SYS>>|\|[\w.:/-]+\|>|\uff5c[\w\u2581]+\uff5c>)"
    r"|\[(?:(?P<closing>/)?(?P<mistral>THINK)\]|/?(?:INST|SYSTEM_PROMPT)\](?![\"'\u201d]|(?-i: [a-z]))|\|\w+\|\])",
    re.IGNORECASE,
)
LABEL = (
    r"[^\S\n]*(?:[#*_\[]*[^\S\n]*(?:(?P<own>Assistant|ASSISTANT|assistant)|User|USER|user|Human|HUMAN|human)"
    r"|\#+[^\S\n]*(?:(?P<response>Response)|Instruction|System))[^\S\n]*[\]*_]*[:\uff1a][*_]*"
)
SPEAKER = re.compile(rf"\n(?:{LABEL}|[^\S\n]*<response>)")
OPENING_SPEAKER = re.compile(rf"(?:{LABEL}|[^\S\n]*<response>)")
FINAL = "assistantfinal"

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
VALUES = {word: float(n) for n, word in enumerate(NAMES)}
DASHES = "-\u2010\u2011\u2013\u2014\u2212\uff0d"
DASH = f"[{DASHES}]"
MARKS = "*_`#\"'\u201c\u201d"
FILL, OPEN, CLOSE = (rf"(?:[^\S\n]|[{marks}])*" for marks in (MARKS, MARKS + r"<\[($}", MARKS + r">\])}$"))

# The words of each class, from the source of the parser.
SOURCE = Path(__file__).resolve().parents[1] / "rust" / "core" / "src" / "verdict" / "words.rs"
ENTRY = re.compile(r"\((?:\s*)([A-Z_]+),\s*\"([^\"]+)\"")
WORDS = {
    name: frozenset(words.replace("\\", " ").split())
    for name, words in ENTRY.findall(SOURCE.read_text(encoding="utf-8").partition("const WORDS")[2])
}


def any_of(*names: str) -> str:
    """Return a pattern for the whole words of classes, the longer ones first."""
    words = sorted({word for name in names for word in WORDS[name]}, key=lambda word: (-len(word), word))
    return rf"(?:{'|'.join(words)})(?![^\W_])"


UNIT = any_of("UNITS")
NUMBER = rf"(?:[+]|{DASH})?(?:[0-9]+(?:\.[0-9]+)?(?!\.?[0-9])(?:{UNIT}|(?![^\W_]))|(?:{'|'.join(NAMES)})(?![^\W_]))"
UNSIGNED = rf"(?<![^\W_])(?=[^\W_]){NUMBER}"

LABELS = [
    re.compile(rf"{''.join(f'[{c.upper()}{c}]' for c in word)}(?![^\W_])")
    for word in ("score", "total", "final", "overall")
]
NOTE = rf"(?:[(\[](?P<note>[^)\]\n]{{0,40}})[)\]]{FILL})?"
SEPARATOR = rf"(?P<colon>(?:is(?![^\W_]){FILL})?[:=\uff1a]+)|(?P<heading>(?=\n))"
AFTER_SCORE = re.compile(
    rf"(?P<quote>[\"'])?{FILL}(?P<suffix>(?:{any_of('FINAL', 'AFTER_LABEL')}{FILL})*)(?P<out>out[^\S\n]+of[^\S\n]+"
    rf"(?P<scale>{NUMBER}){FILL})?{NOTE}(?:{SEPARATOR}|(?P<weak>is(?![^\W_])|{DASH}))",
    re.IGNORECASE,
)
AFTER_FINAL = re.compile(
    rf"(?P<quote>[\"'])?{FILL}(?:{any_of('FINAL_NOUNS', 'FINAL')}{FILL})*(?P<suffix>)(?P<scale>){NOTE}(?:{SEPARATOR})"
    r"(?P<weak>(?!))?",
    re.IGNORECASE,
)
COMMAND = r"(?:\\(?:(?:boxed|text|textbf|mathbf|mathrm|fbox)\{|[(\[]))?"
ON_LINE = re.compile(rf"{OPEN}{COMMAND}{OPEN}(?P<number>{NUMBER})", re.IGNORECASE)
ANYWHERE = re.compile(rf"(?:{OPEN}\n)*{OPEN}{COMMAND}{OPEN}(?P<number>{NUMBER})", re.IGNORECASE)
UNDERLINE = re.compile(r"\n+(?:==+|--+)[^\S\n]*(?=\n)")
PHRASE_WORD = any_of("SCALE_MARKERS", "SCALE_WORDS", "UNITS")
RANGE = rf"[(\[]{NUMBER}{FILL}(?:{DASH}|to(?![^\W_])){FILL}{NUMBER}{FILL}[)\]]"
PHRASE = (
    rf"[,;]?{OPEN}(?:/{OPEN}{NUMBER}|(?=[^\W\d_])(?:{PHRASE_WORD}[.:]?(?:[^\S\n]|[<\[({MARKS}])*)*{UNSIGNED}"
    rf"(?:(?:{FILL}{DASH}?{FILL}{PHRASE_WORD})*{FILL}{DASH}?{FILL}{UNSIGNED})*(?:{FILL}{DASH}?{FILL}{PHRASE_WORD})*)"
)
TAIL = re.compile(
    rf"(?P<comma>,[0-9])?(?P<all>(?:{CLOSE}{UNIT})?(?P<percent>{CLOSE}(?:%|{any_of('PERCENT')}))?"
    rf"(?P<phrase>(?:{CLOSE}(?:{RANGE}|{PHRASE})){{0,2}})(?:{CLOSE}{UNIT})?){CLOSE}",
    re.IGNORECASE,
)
NUMBERS = re.compile(NUMBER, re.IGNORECASE)
SCALE_NUMBERS = re.compile(UNSIGNED, re.IGNORECASE)
AGAIN = re.compile(
    rf"[(\[]{FILL}(?P<sum>{NUMBER}(?:{FILL}\+{FILL}{NUMBER})*){FILL}(?:={FILL}(?P<total>{NUMBER}))?(?P<percent>%)?"
    rf"(?:/(?P<of>[0-9]+))?{FILL}[)\]]{CLOSE}",
    re.IGNORECASE,
)
END = re.compile(r"\n|\Z|[.!](?=[\s>\])}$*_`#\"']|\Z)|!+(?=\s|\Z)")
REMARK = re.compile(rf"(?:\.\.+|(?P<dash>{DASH})>?|[,;(\[:=\u2192|\u2026])(?:[^\S\n]|[{MARKS}(]|{DASH})*(?P<text>.*)")
SENTENCE_END = re.compile(r"[.!](?=[\s>\])}$*_`#\"']|\Z)")
WORD_RUN = re.compile(r"[^\W_]+")
ALONE = re.compile(rf"(?:{CLOSE}|\.)*(?:\n|\r|\Z)")
DIFFERENCE = re.compile(rf"{FILL}{any_of('COMPARISONS')}", re.IGNORECASE)


def said(text: str) -> str | None:
    """Return what was said in a reply: rule 1. None if it ends inside a thought."""
    if text.startswith("analysis"):
        _, mark, text = text.partition(FINAL)
        if not mark:
            return None
    found: list[str] = []
    start, end, thinking = 0, len(text), False
    start, speaker = first_speaker(text, start, found)
    for tag in TAG.finditer(text):
        if speaker and not thinking and speaker.start() < tag.start():
            break
        if not (tag["think"] or tag["mistral"]):
            end = tag.start()
            break
        if not (tag["close"] or tag["closing"]):
            if not thinking:
                found.append(text[start : tag.start()])
            thinking = True
            continue
        if not thinking:
            found.clear()
        thinking, start = False, tag.end()
        start, speaker = first_speaker(text, start, found)
    if thinking:
        return None
    if speaker and start <= speaker.start() < end:
        end = speaker.start()
    found.append(text[start:end])
    return "\n".join(part.strip() for part in found if part.strip()) if len(found) > 1 else found[0]


def first_speaker(text: str, start: int, found: list[str]) -> tuple[int, re.Match[str] | None]:
    """Return where what is said starts, after labels of the assistant itself, and the next speaker."""
    while (opening := OPENING_SPEAKER.match(text, start)) is not None:
        own = opening["own"] or opening["response"]
        if not own or any(part.strip() for part in found):
            return start, opening
        start = opening.end()
    return start, SPEAKER.search(text, start)


def value(number: str) -> float:
    """Return the value of a match of NUMBER."""
    if number.isdecimal():
        return float(number)
    sign = -1.0 if number[0] in "-\u2010\u2011\u2013\u2014\u2212\uff0d" else 1.0
    digits = number.lstrip("+-\u2010\u2011\u2013\u2014\u2212\uff0d").lower()
    digits = re.sub(r"(?<=\d)[a-z]+\Z", "", digits)
    return sign * (VALUES[digits] if digits in VALUES else float(digits))


def on_scale(score: float, max_score: float) -> Verdict:
    """Return the verdict of a number."""
    return ("scored", score + 0.0) if 0.0 <= score <= max_score else OUT_OF_RANGE


def label(text: str, max_score: float) -> Verdict | None:
    """Return the verdict of the labels of a part: rules 3 to 6."""
    groups: dict[str, list[tuple[int, int, bool, Verdict, bool]]] = {"final": [], "bare": [], "unclear": []}
    other_scale = False
    found = [(match, n == 0) for n, pattern in enumerate(LABELS) for match in pattern.finditer(text)]
    if len(found) > 1:
        found.sort(key=lambda entry: entry[0].start())
    for word, has_word in found:
        if not has_word and text[: word.start()][-1:].isalnum():
            continue
        after = (AFTER_SCORE if has_word else AFTER_FINAL).match(text, word.end())
        if not after:
            continue
        rank, opens_line = name(text, word.start())
        if after["heading"] is not None and not opens_line:
            continue
        depth, around = place(text, word.start())
        if rank == "maximum":
            stated = number_of(text, after)
            other_scale |= stated is not None and value(stated["number"]) > max_score
        if rank in ("maximum", "other") or around == "other" or names_another(after["note"]):
            continue
        if (
            not has_word
            or around == "final"
            or classes_in(after["suffix"], "FINAL")
            or classes_in(after["note"], "FINAL")
        ):
            rank = "final"
        verdict, template = at_label(text, after, max_score, has_word=has_word)
        quoted = "" if depth > 1 else quotation(text, word.start())
        if verdict is not None and quoted != "word":
            if quoted or (rank == "final" and not has_word and verdict == CONFLICTING):
                rank = "unclear"
            groups[rank].append((depth, word.start(), has_word, verdict, template))
    return tallied(groups, other_scale=other_scale)


QUOTED = re.compile(
    r"""(?<![^\W_])(?:'\S|["`]\S|[\u201c\u2018\u00ab]).*?(?<=\S)['"`\u201d\u2019\u00bb](?![^\W_])""", re.DOTALL
)


def quotation(text: str, start: int) -> str:
    """Return what introduces the quotation that holds the label at `start`: `word`, `colon`, or nothing."""
    for match in QUOTED.finditer(text):
        if match.start() <= start < match.end() - 7:
            line = text[: match.start()].rpartition("\n")[2].rstrip()
            return "" if not re.search(r"[^\W_]", line) else "colon" if line.endswith((":", "\uff1a")) else "word"
    return ""


def tallied(groups: dict[str, list[tuple[int, int, bool, Verdict, bool]]], *, other_scale: bool) -> Verdict | None:
    """Return the verdict of the labels of the highest rank."""
    for rank in ("final", "bare", "unclear"):
        rows = groups[rank]
        if not rows:
            continue
        outermost = min(depth for depth, *_ in rows)
        rows = [row for row in rows if row[0] == outermost]
        last = rows[-1]
        verdict = last[3]
        if verdict != MISSING:
            numbers = {row[3] for row in rows if row[3] != MISSING and not row[4]}
            later = [row[3] for row in groups["bare"] if row[1] > last[1] and row[3] != MISSING]
            if len(numbers) > 1 or (rank == "final" and not last[2] and later and later[-1] != verdict):
                return CONFLICTING
            if other_scale and verdict[0] == "scored":
                return OUT_OF_RANGE
        return verdict
    return None


def classes_in(text: str | None, *names: str) -> bool:
    """Tell whether a word of `text` belongs to one of the classes."""
    return bool(text) and any(word.lower() in WORDS[name] for word in WORD_RUN.findall(text or "") for name in names)


def names_another(note: str | None) -> bool:
    """Tell whether a note in brackets is more than a scale."""
    known = ("SCALE_MARKERS", "SCALE_WORDS", "UNITS", "FINAL")
    return any(not word.isdecimal() and not classes_in(word, *known) for word in WORD_RUN.findall(note or ""))


def owner(text: str) -> str:
    """Return what the text before a label, or a key, names: `final`, `bare` or `other`."""
    words = [word.lower() for word in WORD_RUN.findall(text.replace("_", " "))]
    if any(word in WORDS["VERBS"] for word in words):
        return "bare"
    final = [word.startswith(("final", "total", "overall")) for word in words]
    known = [word.isdecimal() or classes_in(word, "OWNERS", "DETERMINERS", "CLAUSE", "MODIFIERS") for word in words]
    if not all(a or b for a, b in zip(final, known, strict=True)):
        return "other"
    return "final" if any(final) else "bare"


def name(text: str, start: int) -> tuple[str, bool]:
    """Return what the label at `start` names (`final`, `bare`, `maximum` or `other`), and whether it opens its line."""
    window = text[max(0, start - 100) : start]
    above, newline, line = window.rpartition("\n")
    rank, rest = "bare", line
    joined = re.search(rf"([^\W_]+)(_|{DASH}|)\Z", rest)
    if joined:
        if joined[1].lower() not in WORDS["FINAL"]:
            return ("maximum" if joined[2] and joined[1].lower() in WORDS["SCALE_LABELS"] else "other"), False
        rank, rest = "final", rest[: joined.start()]
        if re.search(rf"[^\W_](?:_|{DASH}|)\Z", rest):
            return "other", False
    while True:
        rest = rest.rstrip(" \t" + MARKS)
        if not rest:
            return headed(above, rank, opens_line=bool(newline) or start <= 100)
        run = re.search(r"[^\W_]+\Z", rest)
        if not run:
            return separated(rest, rank)
        word, before = run[0].lower(), rest[: run.start()]
        if word in WORDS["FINAL"]:
            rank = "final"
        elif word in WORDS["SCALE_LABELS"]:
            return "maximum", False
        elif word in WORDS["DETERMINERS"]:
            rest = before.rstrip(" \t" + MARKS)
            if not rest:
                return headed(above, rank, opens_line=bool(newline) or start <= 100)
            introducing = re.search(r"[^\W_]+\Z", rest)
            if not introducing:
                return separated(rest, rank)
            return awarded(introducing[0].lower(), rest[: introducing.start()], rank)
        elif word == "s" and before.endswith("'"):
            return (rank if classes_in(before.rstrip("'").split(" ")[-1], "MODIFIERS") else "other"), False
        elif word not in WORDS["MODIFIERS"]:
            return awarded(word, before, rank)
        rest = before


def awarded(word: str, before: str, rank: str) -> tuple[str, bool]:
    """Return the name of a label that `word` introduces."""
    previous = before.rstrip(" \t" + MARKS).rpartition(" ")[2]
    return (rank if word in WORDS["CLAUSE"] and previous != "to" else "other"), False


def separated(rest: str, rank: str) -> tuple[str, bool]:
    """Return the name of a label after a character that is no letter, at the end of `rest`."""
    if re.fullmatch(rf"[\s{MARKS}]*[0-9]+\.", rest):
        return rank, True
    if rest[-1] in "?\uff1f":
        return ("other" if re.search(r"[^\W\d_]", rest) else rank), False
    if rest[-1] not in "()[]:\uff1a=|/><\u2192~&+" + DASHES:
        return rank, False
    before = re.split(r"[.!;,\u2026{}|?\u2022]", rest.rstrip("()[]:\uff1a=|/><\u2192~&+ \t" + DASHES + MARKS))[-1]
    if not re.search(r"[^\W\d_]", before):
        return rank, True
    if rest[-1] == "(":
        return "other", False
    named = owner(before)
    return (rank if named == "bare" else named), False


def headed(above: str, rank: str, *, opens_line: bool) -> tuple[str, bool]:
    """Return the name of a label that opens its line, below the text `above`."""
    line = re.sub(r"\A[0-9.)\-+>{ ]+", "", above.rstrip().rpartition("\n")[2].strip())
    is_heading = line.startswith("#") or re.fullmatch(r"\*\*.+\*\*|__.+__", line) or line.rstrip(MARKS).endswith(":")
    if is_heading and not re.search("[0-9]", line):
        named = owner(line)
        if named == "final" or (named == "other" and rank == "bare"):
            return named, opens_line
    return rank, opens_line


BRACKET = re.compile(r"""[{}\[\]]|"[^"\n]*\"""")
KEY = re.compile(r"""([^"'{}\[\],:\n]{1,60})["']?\s*[:=]\s*\Z""")


def place(text: str, start: int) -> tuple[int, str]:
    """Return the number of objects around `start`, at least 1, and what their keys name."""
    if "{" not in text:
        return 1, "bare"
    stack: list[tuple[str, str]] = []
    for match in BRACKET.finditer(text):
        if match.start() > start:
            break
        found = match[0]
        if found in "}]":
            stack = stack[:-1]
            continue
        if found[0] == '"' and not (stack and start < match.end()):
            continue
        key = KEY.search(text, max(0, match.start() - 64), match.start())
        named = owner(key[1]) if key else "bare"
        if found[0] != '"':
            stack.append((found, "other" if found == "{" and stack and stack[-1][0] == "[" else named))
        elif key:
            stack.append((found, named))
    around = {named for _, named in stack}
    return max(1, len(stack)), "other" if "other" in around else "final" if "final" in around else "bare"


def number_of(text: str, after: re.Match[str]) -> re.Match[str] | None:
    """Return the match of the number of a label, if it has one."""
    at = after.end()
    if after["heading"] is not None:
        underline = UNDERLINE.match(text, at)
        at = underline.end() if underline else at
    found = (ON_LINE if after["weak"] else ANYWHERE).match(text, at)
    if not found:
        return None
    tail = TAIL.match(text, found.end())
    assert tail is not None
    crossed = "\n" in text[after.end() : found.start("number")]
    alone = not crossed or ALONE.match(text, tail.end("all"))
    counts = found["number"].isalpha() and re.match(r"\s+of\b", text[found.end() :]) and not tail["phrase"]
    return found if alone and not counts else None


def at_label(text: str, after: re.Match[str], max_score: float, *, has_word: bool) -> tuple[Verdict | None, bool]:
    """Return the verdict of a label (None if it is not one), and whether it may quote the requested format."""
    found = number_of(text, after)
    if not found:
        return (MISSING if after["colon"] is not None and has_word else None), False
    tail = TAIL.match(text, found.end())
    assert tail is not None
    if after["weak"] and DIFFERENCE.match(text, tail.end("all")):
        return None, False
    openers, score = text[after.end() : found.start("number")], value(found["number"])
    closers = text[found.end() : tail.end()]
    closed = all(a not in openers or b in closers for a, b in ("<>", "$$"))
    key = after["quote"] is not None and after["colon"] is not None
    if tail["comma"] or not closed or not is_clean(text, tail.end(), score, max_score, key=key):
        return CONFLICTING, "<" in openers or "[" in openers
    scales = [100.0] if tail["percent"] else scales_of(tail["phrase"])
    if after["scale"]:
        scales.append(value(after["scale"]))
    if after["note"] and "+" not in after["note"]:
        scales += [max(map(float, re.findall(r"[0-9]+(?:\.[0-9]+)?", after["note"])), default=max_score)]
    return (on_scale(score, max_score) if all(scale == max_score for scale in scales) else OUT_OF_RANGE), False


def scales_of(phrase: str) -> list[float]:
    """Return the upper end of the scale in a phrase; NaN if the numbers are not those of one scale."""
    values = [abs(value(number)) for number in SCALE_NUMBERS.findall(phrase)]
    return [values[-1] if all(low in (0.0, 1.0) for low in values[:-1]) else float("nan")] if values else []


def is_clean(text: str, at: int, score: float, max_score: float, *, key: bool) -> bool:
    """Tell whether the text after a number and its scale leaves no doubt about it."""
    again = AGAIN.match(text, at)
    if again:
        total = sum(value(term) for term in NUMBERS.findall(again["sum"]))
        same = not again["total"] or value(again["total"]) == total
        stated = total * max_score / 100 if again["percent"] else total
        if same and abs(stated - score) < 1e-9 and (not again["of"] or float(again["of"]) == max_score):
            at = again.end()
    if END.match(text, at) or (key and text[at] in ",}]"):
        return True
    remark = REMARK.match(text, at)
    if remark is not None:
        words = WORD_RUN.match(remark["text"])
        if not remark["text"]:
            return remark["dash"] is None
        return not (words and words[0].lower() in WORDS["ARITHMETIC"]) and not has_number(remark["text"])
    rest = text[at : at + 240].partition("\n")[0]
    first = WORD_RUN.match(rest)
    if first:
        word, following = first[0].lower(), rest[first.end() :]
        if word in ("or", "to"):
            begins = following.strip().startswith("so" if word == "or" else "be")
        else:
            begins = following.startswith(":") or word in WORDS["REMARKS"]
        return begins and not has_number(rest)
    return not rest[0].isascii() and not has_number(rest)


def has_number(remark: str) -> bool:
    """Tell whether the first sentence of a remark has a number that counts nothing else."""
    end = SENTENCE_END.search(remark)
    text = remark[: min(end.start() if end else 240, 240)]
    reason = counts = computes = False
    for match in WORD_RUN.finditer(text):
        word = match[0].lower()
        reason |= word in WORDS["REASONS"]
        computes |= word in WORDS["ARITHMETIC"]
        if not (word in WORDS["NUMBERS"] or any(c.isnumeric() for c in word)):
            continue
        before = [entry.lower() for entry in text[: match.start()].split()[-2:]]
        if word == "one" and any(entry in WORDS["ARTICLES"] for entry in before):
            continue
        noun = re.match(r"\s+([^\W\d_]+)", text[match.end() :])
        counted = noun and noun[1].islower() and noun[1] not in WORDS["FUNCTION"] | WORDS["UNITS"]
        if not reason or not counted or text[: match.start()].rstrip().endswith(tuple("+=/*" + DASHES)):
            return True
        counts = True
    return counts and computes


def matcher(pattern: str) -> Callable[[str, float], Verdict | None]:
    """Return a function that parses a part with a custom pattern."""
    compiled = re.compile(pattern)

    def last(text: str, max_score: float) -> Verdict | None:
        found = None
        for match in compiled.finditer(text):
            found = match
        if found is None:
            return None
        group = (found["score"] or "").strip()
        return on_scale(value(group), max_score) if WHOLE.fullmatch(group) else MISSING

    return last


WHOLE = re.compile(NUMBER, re.IGNORECASE)


def read(
    replies: list[str], max_score: float, of_part: Callable[[str, float], Verdict | None] = label
) -> list[Verdict]:
    """Return the verdicts of replies."""
    verdicts = []
    for reply in replies:
        text = said(reply)
        verdict = None if text is None else of_part(text, max_score)
        verdicts.append(MISSING if verdict is None else verdict)
    return verdicts

"""Write the packaged prompts with instructions that rules can check: `python benches/make_checks.py`.

Every prompt is a request and one instruction of one of IFEval's kinds (arXiv 2311.07911), whose sentences are written
here. Kinds are balanced, "at least" beside "at most", because training on one side alone makes answers longer or
shorter. No request of the training prompts is among the held-out ones.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).resolve().parents[1] / "python" / "srlm" / "data" / "checks"
TRAIN = [
    "Describe a rainy morning in a small town.", "Explain how a bicycle stays upright.",
    "Give some advice to someone who moves to a new city.", "Tell a short story about a lost key.",
    "Explain why leaves change colour in autumn.", "Describe the taste of a fresh orange.",
    "Write a message that invites friends to a picnic.", "Explain what a library is good for.",
    "Recommend a hobby for long winter evenings.", "Describe what happens at a farmers' market.",
    "Explain how to make a cup of tea.", "Tell me something about the moon.",
    "Write a note that thanks a neighbour for her help.", "Describe your idea of a perfect garden.",
    "Explain how bread rises.", "Give tips for a good night's sleep.",
    "Describe a train ride through the mountains.", "Explain what makes a good teacher.",
    "Write an advertisement for a pair of warm socks.", "Tell me how bees make honey.",
    "Describe an old clock on a wall.", "Explain why people keep diaries.",
    "Give advice on how to learn a new language.", "Write about a day at the beach.",
    "Explain what a compass does.", "Describe a busy kitchen before dinner.",
    "Tell me why exercise is healthy.", "Write a greeting for a birthday card.",
    "Explain how rain forms.", "Describe a quiet street at night.",
    "Give tips for keeping houseplants alive.", "Write about a dog that is afraid of thunder.",
    "Explain what a budget is.", "Describe the sound of a forest.",
    "Suggest a meal that is quick to cook.", "Explain why the sea is salty.",
    "Write a few lines about friendship.", "Describe how a candle burns.",
    "Tell me about a game that children play.", "Explain how to cross a street safely.",
    "Describe a bridge over a wide river.", "Give advice to someone who starts a new job.",
    "Explain what a volcano is.", "Write about the first snow of the year.",
    "Describe a bakery early in the morning.", "Explain how to tie a shoe.",
    "Tell me about the life of a frog.", "Write a message to a friend who is ill.",
]  # fmt: skip
HELD_OUT = [
    "Describe a harbour at sunrise.", "Explain how a thermometer works.", "Give tips for saving water at home.",
    "Tell a short story about a lighthouse.", "Explain why cats purr.", "Describe the smell of a spice shop.",
    "Write a message that cancels a meeting.", "Explain what a museum is for.", "Recommend a book to a young reader.",
    "Describe a storm over a lake.", "Explain how to boil an egg.", "Tell me something about owls.",
    "Write a note to a landlord about a dripping tap.", "Describe a child who builds a sandcastle.",
    "Explain how soap cleans hands.", "Give advice to someone who speaks in public for the first time.",
    "Describe a walk through an empty stadium.", "Explain what makes music sad.",
    "Write an advertisement for a bicycle bell.", "Tell me how glass is made.", "Describe a tree in winter.",
    "Explain why we dream.", "Suggest a present for a grandmother.", "Write about a bus that never comes.",
]  # fmt: skip

Made = tuple[list[str], str, dict[str, Any]]  # sentences of one meaning, the kind, its arguments
WORDS = [
    "water",
    "time",
    "people",
    "light",
    "small",
    "good",
    "day",
    "warm",
    "home",
    "air",
    "long",
    "new",
    "best",
    "work",
]
RARE = ["very", "really", "also", "just", "because", "make", "like", "many", "with", "some", "more", "often"]
FIRST, LAST = ["P.S.", "P.P.S"], ["Thank you for reading.", "That is all.", "I hope this helps.", "Good luck!"]


def words_at_most(draw: random.Random) -> Made:
    """Short answers."""
    count = draw.choice([15, 20, 25, 30, 40, 50])
    sentences = [f"Use fewer than {count} words.", f"Your answer must have less than {count} words."]
    return sentences, "length_constraints:number_words", {"relation": "less than", "num_words": count}


def words_at_least(draw: random.Random) -> Made:
    """Long answers."""
    count = draw.choice([40, 50, 60, 70, 80])
    sentences = [f"Use at least {count} words.", f"Your answer must have {count} words or more."]
    return sentences, "length_constraints:number_words", {"relation": "at least", "num_words": count}


def sentences_at_most(draw: random.Random) -> Made:
    """Few sentences."""
    count = draw.choice([2, 3, 4])
    sentences = [f"Use fewer than {count} sentences.", f"Your answer must have less than {count} sentences."]
    return sentences, "length_constraints:number_sentences", {"relation": "less than", "num_sentences": count}


def sentences_at_least(draw: random.Random) -> Made:
    """Many sentences."""
    count = draw.choice([3, 4, 5, 6])
    sentences = [f"Use at least {count} sentences.", f"Your answer must have {count} or more sentences."]
    return sentences, "length_constraints:number_sentences", {"relation": "at least", "num_sentences": count}


def no_comma(draw: random.Random) -> Made:
    """No commas."""
    return ["Do not use any commas.", "Your answer must not contain a comma."], "punctuation:no_comma", {}


def bullets(draw: random.Random) -> Made:
    """A list."""
    count = draw.choice([2, 3, 4])
    form = "such as:\n* First point.\n* Second point."
    sentences = [f"Answer with exactly {count} bullet points, {form}", f"Use exactly {count} bullet points, {form}"]
    return sentences, "detectable_format:number_bullet_lists", {"num_bullets": count}


def paragraphs(draw: random.Random) -> Made:
    """Paragraphs between separators."""
    count = draw.choice([2, 3])
    sentences = [
        f"Write exactly {count} paragraphs, with *** in between.",
        f"Use {count} paragraphs, divided by ***.",
    ]
    return sentences, "length_constraints:number_paragraphs", {"num_paragraphs": count}


def include(draw: random.Random) -> Made:
    """A word that must occur."""
    word = draw.choice(WORDS)
    sentences = [f'Use the word "{word}".', f'Your answer must contain the word "{word}".']
    return sentences, "keywords:existence", {"keywords": [word]}


def avoid(draw: random.Random) -> Made:
    """Words that must not occur."""
    some = sorted(draw.sample(RARE, 2))
    quoted = " or ".join(f'"{word}"' for word in some)
    sentences = [f"Do not use the words {quoted}.", f"Your answer must not contain the words {quoted}."]
    return sentences, "keywords:forbidden_words", {"forbidden_words": some}


def word_at_least(draw: random.Random) -> Made:
    """A word, several times."""
    word, count = draw.choice(WORDS), draw.choice([2, 3])
    sentences = [
        f'Use the word "{word}" at least {count} times.',
        f'The word "{word}" must occur {count} times or more.',
    ]
    return sentences, "keywords:frequency", {"keyword": word, "frequency": count, "relation": "at least"}


def letter_at_most(draw: random.Random) -> Made:
    """A letter, a few times only."""
    letter, count = draw.choice("bcdghmpuwy"), draw.choice([3, 4, 6])
    sentences = [f'Use the letter "{letter}" less than {count} times.', f'Have fewer than {count} letters "{letter}".']
    arguments = {"letter": letter, "let_frequency": count, "let_relation": "less than"}
    return sentences, "keywords:letter_frequency", arguments


def letter_at_least(draw: random.Random) -> Made:
    """A letter, many times."""
    letter, count = draw.choice("bcdghmpuwy"), draw.choice([6, 8, 10])
    sentences = [f'Use the letter "{letter}" at least {count} times.', f'Have {count} or more letters "{letter}".']
    return (
        sentences,
        "keywords:letter_frequency",
        {"letter": letter, "let_frequency": count, "let_relation": "at least"},
    )


def title(draw: random.Random) -> Made:
    """A title in double angle brackets."""
    sentences = ["Give it a title in double angle brackets, such as <<my title>>."]
    return [*sentences, "Begin with a title such as <<a title>>."], "detectable_format:title", {}


def postscript(draw: random.Random) -> Made:
    """A postscript."""
    mark = draw.choice(FIRST)
    sentences = [f"At the end, add a postscript that begins with {mark}", f"Add a postscript, starting with {mark}"]
    return sentences, "detectable_content:postscript", {"postscript_marker": mark}


def placeholders(draw: random.Random) -> Made:
    """Placeholders in square brackets."""
    count = draw.choice([1, 2, 3])
    some = f"at least {count} placeholder{'s' * (count > 1)}"
    sentences = [f"Use {some} in square brackets, such as [name].", f"It must have {some}, such as [address]."]
    return sentences, "detectable_content:number_placeholders", {"num_placeholders": count}


def highlights(draw: random.Random) -> Made:
    """Emphasised parts."""
    count = draw.choice([1, 2, 3])
    parts = f"at least {count} part{'s' * (count > 1)}"
    sentences = [
        f"Highlight {parts} with asterisks, *like this*.",
        f"Put {parts} between asterisks, *like this*.",
    ]
    return sentences, "detectable_format:number_highlighted_sections", {"num_highlights": count}


def ending(draw: random.Random) -> Made:
    """Given last words."""
    words = draw.choice(LAST)
    sentences = [
        f'End with exactly these words: "{words}"',
        f'The very last words must be "{words}"',
    ]
    return sentences, "startend:end_checker", {"end_phrase": words}


KINDS: list[Callable[[random.Random], Made]] = [
    words_at_most, words_at_least, sentences_at_most, sentences_at_least, no_comma, bullets, paragraphs, include, avoid,
    word_at_least, letter_at_most, letter_at_least, title, postscript, placeholders, highlights, ending,
]  # fmt: skip


def make(requests: list[str], each: int, seed: int) -> list[dict[str, Any]]:
    """Return `each` prompts of every kind, every one with another request as far as there are enough."""
    draw, rows = random.Random(seed), []
    for kind in KINDS:
        for request in draw.sample(requests, each):
            sentences, name, arguments = kind(draw)
            sentence = draw.choice(sentences)
            may_come_first = draw.random() < 0.5 and sentence.endswith(".") and "\n" not in sentence
            prompt = f"{sentence} {request}" if may_come_first else f"{request} {sentence}"
            rows.append({"key": kind.__name__, "prompt": prompt, "instruction_id_list": [name], "kwargs": [arguments]})
    draw.shuffle(rows)
    return rows


def files() -> dict[str, str]:
    """Return the content of the packaged files by name."""
    sets = {"train.jsonl": make(TRAIN, 40, 1), "held_out.jsonl": make(HELD_OUT, 14, 2)}
    return {name: "".join(json.dumps(row) + "\n" for row in rows) for name, rows in sets.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")

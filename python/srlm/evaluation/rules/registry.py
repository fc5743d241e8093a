"""The rule and the arguments of each kind of instruction, by its name in the benchmark's data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from srlm.evaluation.rules import content, layout, whole
from srlm.evaluation.rules.arguments import COUNT, LANGUAGE, LETTER, POSITION, RELATION, WORD, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from srlm.evaluation.rules.arguments import Argument


@dataclass(frozen=True, slots=True)
class Rule:
    """`follows(answer, **arguments)` returns whether the answer follows the instruction; `arguments` validates them."""

    follows: Callable[..., bool]
    arguments: Mapping[str, Argument] = field(default_factory=dict)


RULES: Mapping[str, Rule] = {
    "change_case:capital_word_frequency": Rule(
        whole.capital_word_frequency, {"capital_frequency": COUNT, "capital_relation": RELATION}
    ),
    "change_case:english_capital": Rule(whole.english_capital),
    "change_case:english_lowercase": Rule(whole.english_lowercase),
    "combination:repeat_prompt": Rule(whole.repeat_prompt, {"prompt_to_repeat": WORD}),
    "combination:two_responses": Rule(layout.two_responses),
    "detectable_content:number_placeholders": Rule(content.number_placeholders, {"num_placeholders": COUNT}),
    "detectable_content:postscript": Rule(content.postscript, {"postscript_marker": WORD}),
    "detectable_format:constrained_response": Rule(content.constrained_response),
    "detectable_format:json_format": Rule(layout.json_format),
    "detectable_format:multiple_sections": Rule(
        layout.multiple_sections, {"section_spliter": WORD, "num_sections": COUNT}
    ),
    "detectable_format:number_bullet_lists": Rule(layout.number_bullet_lists, {"num_bullets": COUNT}),
    "detectable_format:number_highlighted_sections": Rule(
        layout.number_highlighted_sections, {"num_highlights": COUNT}
    ),
    "detectable_format:title": Rule(layout.title),
    "keywords:existence": Rule(content.existence, {"keywords": WORDS}),
    "keywords:forbidden_words": Rule(content.forbidden_words, {"forbidden_words": WORDS}),
    "keywords:frequency": Rule(content.frequency, {"keyword": WORD, "frequency": COUNT, "relation": RELATION}),
    "keywords:letter_frequency": Rule(
        content.letter_frequency, {"letter": LETTER, "let_frequency": COUNT, "let_relation": RELATION}
    ),
    "language:response_language": Rule(whole.response_language, {"language": LANGUAGE}),
    "length_constraints:nth_paragraph_first_word": Rule(
        layout.nth_paragraph_first_word, {"num_paragraphs": COUNT, "nth_paragraph": POSITION, "first_word": WORD}
    ),
    "length_constraints:number_paragraphs": Rule(layout.number_paragraphs, {"num_paragraphs": COUNT}),
    "length_constraints:number_sentences": Rule(whole.number_sentences, {"num_sentences": COUNT, "relation": RELATION}),
    "length_constraints:number_words": Rule(whole.number_words, {"num_words": COUNT, "relation": RELATION}),
    "punctuation:no_comma": Rule(content.no_comma),
    "startend:end_checker": Rule(whole.end_checker, {"end_phrase": WORD}),
    "startend:quotation": Rule(whole.quotation),
}

"""Rules on the answer as a whole: language, case, length, start and end."""

from __future__ import annotations

from srlm.evaluation.rules import counting, language


def response_language(answer: str, *, language: str) -> bool:
    """language:response_language: is detected as this language."""
    return _is_language(answer, language)


def english_capital(answer: str) -> bool:
    """change_case:english_capital: English, all letters upper case."""
    return answer.isupper() and _is_language(answer, "en")


def english_lowercase(answer: str) -> bool:
    """change_case:english_lowercase: English, all letters lower case."""
    return answer.islower() and _is_language(answer, "en")


def capital_word_frequency(answer: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """change_case:capital_word_frequency: the number of words in all capitals."""
    return counting.satisfies(counting.capital_words(answer), capital_relation, capital_frequency)


def number_words(answer: str, *, num_words: int, relation: str) -> bool:
    """length_constraints:number_words: the number of words."""
    return counting.satisfies(counting.words(answer), relation, num_words)


def number_sentences(answer: str, *, num_sentences: int, relation: str) -> bool:
    """length_constraints:number_sentences: the number of sentences."""
    return counting.satisfies(counting.sentences(answer), relation, num_sentences)


def quotation(answer: str) -> bool:
    """startend:quotation: starts with a double quote and ends with another one."""
    bare = answer.strip()
    return len(bare) > 1 and bare.startswith('"') and bare.endswith('"')


def end_checker(answer: str, *, end_phrase: str) -> bool:
    """startend:end_checker: ends with the phrase, in any case; double quotes may follow."""
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def repeat_prompt(answer: str, *, prompt_to_repeat: str) -> bool:
    """combination:repeat_prompt: starts with the prompt, in any case."""
    return answer.strip().lower().startswith(prompt_to_repeat.strip().lower())


_is_language = language.is_language  # an alias, as the argument `language` shadows the module

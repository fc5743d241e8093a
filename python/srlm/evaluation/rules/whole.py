"""Rules on an answer as a whole: its language, case and length, how it starts and how it ends."""

from __future__ import annotations

from srlm.evaluation.rules import counting, language


def response_language(answer: str, *, language: str) -> bool:
    """language:response_language: detected as this language."""
    return _is_in(answer, language)


def english_capital(answer: str) -> bool:
    """change_case:english_capital: no small letter, some capital ones, and English."""
    return answer.isupper() and _is_in(answer, "en")


def english_lowercase(answer: str) -> bool:
    """change_case:english_lowercase: no capital letter, some small ones, and English."""
    return answer.islower() and _is_in(answer, "en")


def capital_word_frequency(answer: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """change_case:capital_word_frequency: so many words are all in capitals."""
    return counting.holds(counting.capital_words(answer), capital_relation, capital_frequency)


def number_words(answer: str, *, num_words: int, relation: str) -> bool:
    """length_constraints:number_words: so many words."""
    return counting.holds(counting.words(answer), relation, num_words)


def number_sentences(answer: str, *, num_sentences: int, relation: str) -> bool:
    """length_constraints:number_sentences: so many sentences."""
    return counting.holds(counting.sentences(answer), relation, num_sentences)


def quotation(answer: str) -> bool:
    """startend:quotation: the first and the last character are double quotes, two of them."""
    bare = answer.strip()
    return len(bare) > 1 and bare.startswith('"') and bare.endswith('"')


def end_checker(answer: str, *, end_phrase: str) -> bool:
    """startend:end_checker: ends with the phrase, in any case; closing double quotes may follow."""
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def repeat_prompt(answer: str, *, prompt_to_repeat: str) -> bool:
    """combination:repeat_prompt: begins with the prompt, in any case."""
    return answer.strip().lower().startswith(prompt_to_repeat.strip().lower())


_is_in = language.is_in  # under a name that an argument called `language` does not hide

"""Every kind of instruction, on answers that follow it and answers that do not."""

import pytest
from srlm.evaluation.rules import counting, language
from srlm.evaluation.rules.registry import RULES

GERMAN = "Der Hund schläft im Garten, und die Katze sitzt auf dem Dach und wartet auf den Abend."
FRENCH = "Le chien dort dans le jardin, et le chat attend sur le toit que le soir arrive enfin."
ENGLISH = "The dog is asleep in the garden, and the cat is waiting on the roof for the evening to come."
HINDI = "कुत्ता बगीचे में सो रहा है और बिल्ली छत पर बैठी शाम का इंतज़ार कर रही है।"

# kind: the arguments, answers that follow, answers that do not
CASES = {
    "change_case:capital_word_frequency": (
        {"capital_frequency": 3, "capital_relation": "at least"},
        [
            "The FBI, the CIA and NASA.",
            "WELL-KNOWN (YES!) and *GOOD*",
            "I'LL go. U.S.",
            "I CANNOT, she said",
            "Yes, I CAN'T.",
            "YES--NO, GO",
        ],
        ["The FBI and the CIA", "Nasa Esa Jaxa 123 456", "HALF/HALF and 10AM, no more", "A,1B OR"],
    ),
    "change_case:english_capital": (
        {},
        [ENGLISH.upper(), "THIS IS THE END OF THE STORY, AND NOTHING MORE IS TO BE SAID ABOUT IT: 100 %!"],
        [ENGLISH, ENGLISH.upper() + " the end", GERMAN.upper(), "12345"],
    ),
    "change_case:english_lowercase": (
        {},
        [ENGLISH.lower(), "this is the end of the story and nothing more is to be said about it. 100 %!"],
        [ENGLISH, ENGLISH.lower() + " The end", FRENCH.lower(), "12345"],
    ),
    "combination:repeat_prompt": (
        {"prompt_to_repeat": "Name a fruit. "},
        ["Name a fruit.\nApple", " NAME A FRUIT. Pear", "Name a fruit."],
        ["Apple", "You said: Name a fruit.", '"Name a fruit." Apple', "Name a fruit, apple"],
    ),
    "combination:two_responses": (
        {},
        ["one\n******\ntwo", "******one******two", "one******two\n******\n"],
        ["one ****** one", "one *** two", "one******two******three", "one************two", "******", "one"],
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2},
        ["[name], [address]", "Dear [first] [second] and [third]", "[][]", "[[a] [b]]", "[x](y) [ ]"],
        ["[name]", "(name) (address)", "[na\nme] [address", "[[name]]", "]["],
    ),
    "detectable_content:postscript": (
        {"postscript_marker": "P.P.S"},
        ["Bye\nP.P.S. more", "p. p. s more", "Bye. P.P.S", "P.P. S"],
        ["Bye\nP.S. more", "PPS more", "P.P.\n\nS"],
    ),
    "detectable_format:constrained_response": (
        {},
        ["My answer is yes.", "Well. My answer is maybe. Or so", "**My answer is no.**"],
        ["my answer is yes.", "My answer is yes", "Yes.", "My answer is perhaps."],
    ),
    "detectable_format:json_format": (
        {},
        ['{"a": [1, 2]}', '```json\n{"a": 1}\n```', "```\n[]\n```", " 3 ", '```JSON\n"x"```'],
        ["{'a': 1}", 'Here: {"a": 1}', '{"a": 1', '```python\n{"a": 1}\n```', "[" * 100_000],
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1\na\nSection 2\nb", "Section1 Section2 Section3", "# Section 10 **Section 2**"],
        ["Section 1\na", "SECTION 1 SECTION 2", "Section one Section two", "Section  1 Section  2"],
    ),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2},
        ["* a\n* b", "Points:\n - a\n\n\t* b\nend", "-a\n*b*", "- a\n**no bullet**\n- b"],
        ["* a", "* a\n* b\n* c", "1. a\n2. b", "+ a\n+ b", "** a\n** b", "• a\n• b"],
    ),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2},
        ["*a* and *b*", "**a** and *b c*", "**a**\n**b**", "*a*b*c*", "***a***"],
        ["*a* and b", "** ** and *a*", "* a\n* b", "*a\nb* *c*", "_a_ _b_", "*** ***"],
    ),
    "detectable_format:title": (
        {},
        ["<<Joy>>\nIt is.", "text << a b >> text", "<<<a>>>", "<<a\n<<b>>"],
        ["<Joy>", "<<>>", "<< >>", "<<Joy\n>>", ">>Joy<<", "a << b", "Joy"],
    ),
    "keywords:existence": (
        {"keywords": ["river", "c++"]},
        ["The River, in C++", "c++rivers"],
        ["The river, in C", "c++", "riv er c++"],
    ),
    "keywords:forbidden_words": (
        {"forbidden_words": ["can", "U.S"]},
        ["A candle", "scan it; U S; UxS", "cannot"],
        ["I can.", "CAN", "yes-can-do", "the U.S. army"],
    ),
    "keywords:frequency": (
        {"keyword": " war ", "frequency": 2, "relation": "at least"},
        ["War and war", "warwar", "A warm reward"],
        ["war", "peace", "w a r, w a r"],
    ),
    "keywords:letter_frequency": (
        {"letter": "#", "let_frequency": 2, "let_relation": "at least"},
        ["#a #b", "##", "# a # b # c"],
        ["#a", "hash hash", ""],
    ),
    "language:response_language": (
        {"language": "de"},
        [GERMAN, GERMAN + "\n\n" + GERMAN, "Heute ist ein schöner Tag, und wir gehen zusammen schwimmen.", "1234"],
        [ENGLISH, FRENCH, HINDI, "Il tempo è bello e andiamo tutti insieme a nuotare nel lago."],
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Second"},
        [
            "First.\n\nSecond one.",
            "a\n\n'second' b",
            'a\n\n"second, they said',
            "a\n\nSecond's\n\n",
            "a\nb\n\n  SECOND!\nc",
        ],
        ["Second\n\nFirst", "a\n\nSecond\n\nb", "a\nSecond", "a\n\nSeconds", "a\n\n(second)", "a\n\n\n\nSecond"],
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2},
        ["a\n***\nb", "a *** b", "***\na\n***\nb\n***", "a***b"],
        ["a\n\nb", "a", "a***b***c", "a\n***\n\n***\nb", "a ** b"],
    ),
    "length_constraints:number_sentences": (
        {"num_sentences": 3, "relation": "at least"},
        ["One. Two. Three.", 'He said "No!" and left? Yes. Good.', "1.5 is it. Is it? It is", "a. b? c! d"],
        ["One. Two.", "Dr. Smith met Mr. Jones. Good.", "One, two, three", "It costs 3.50. Well... no", "a.b.c.d"],
    ),
    "length_constraints:number_words": (
        {"num_words": 4, "relation": "less than"},
        ["One two three.", "a_b c3 - ! d", "über naïve Straße"],
        ["One two three four", "well-known it's", "1 2 3 4 5"],
    ),
    "punctuation:no_comma": (
        {},
        ["None; at all.", "Arabic \u060c and Chinese \uff0c"],
        ["One, two", "1,000", ","],
    ),
    "startend:end_checker": (
        {"end_phrase": " Any questions? "},
        ["Done. Any questions?", 'He said: "ANY QUESTIONS?"\n', "any questions?"],
        ["Any questions? No.", "Any questions", "Done.", "Any questions?*"],
    ),
    "startend:quotation": (
        {},
        ['"All of it"', ' "a" and "b"\n', '""'],
        ['"', 'a "b"', "'a'", "\u201ca\u201d", '"a'],
    ),
}


def of(index):
    return [(kind, case[0], answer) for kind, case in CASES.items() for answer in case[index]]


def test_every_kind_has_cases():
    assert len(RULES) == 25
    assert set(CASES) == set(RULES)
    assert all(len(case[1]) >= 2 and len(case[2]) >= 2 for case in CASES.values())


@pytest.mark.parametrize(("kind", "arguments", "answer"), of(1))
def test_followed(kind, arguments, answer):
    assert RULES[kind].follows(answer, **arguments) is True


@pytest.mark.parametrize(("kind", "arguments", "answer"), of(2))
def test_not_followed(kind, arguments, answer):
    assert RULES[kind].follows(answer, **arguments) is False


@pytest.mark.parametrize(
    ("kind", "answer", "count", "named"),
    [
        ("change_case:capital_word_frequency", "THE END of it", 2, ("capital_frequency", "capital_relation")),
        ("keywords:letter_frequency", "banana", 3, ("let_frequency", "let_relation")),
        ("keywords:frequency", "a b A b a", 3, ("frequency", "relation")),
        ("length_constraints:number_sentences", "One. Two.", 2, ("num_sentences", "relation")),
        ("length_constraints:number_words", "one two three", 3, ("num_words", "relation")),
    ],
)
def test_relations(kind, answer, count, named):
    others = {"keywords:letter_frequency": {"letter": "A"}, "keywords:frequency": {"keyword": "a"}}.get(kind, {})
    bound, relation = named

    def follows(given, number):
        return RULES[kind].follows(answer, **others, **{bound: number, relation: given})

    assert [follows("at least", count + more) for more in (-1, 0, 1)] == [True, True, False]
    assert [follows("less than", count + more) for more in (-1, 0, 1)] == [False, False, True]


@pytest.mark.parametrize(
    ("marker", "answer", "follows"),
    [
        ("P.S.", "Bye. p. s. more", True),
        ("P.S.", "P.S more", False),
        ("P.S.", "P.P.S. more", True),
        ("P.P.S", "P.S. more", False),
        ("Note+", "a NOTE+ b", True),
        ("Note+", "Notee", False),
    ],
)
def test_postscript_markers(marker, answer, follows):
    assert RULES["detectable_content:postscript"].follows(answer, postscript_marker=marker) is follows


# Counts of NLTK 3.10's Punkt with the same model.
@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("No end", 1),
        ("Mr. A. Smith lives in Calif. near the U.S. border. So?", 2),
        ("At 3 p.m. it rained. Then we left", 2),
        ("Fruit, e.g. apples", 2),  # an abbreviation that Punkt's English model does not know
        ("(Really?) \"Yes.\" 'No.' So.", 4),
        ("A heading\n\n- one\n- two", 1),
        ("What?! Go.", 2),
    ],
)
def test_sentences(text, count):
    assert counting.sentences(text) == count


def test_there_is_no_nth_paragraph():
    rule = RULES["length_constraints:nth_paragraph_first_word"]
    assert not rule.follows("a\n\nb", num_paragraphs=2, nth_paragraph=3, first_word="b")


def test_language_detection_is_reproducible():
    short = "Salut amigo"  # Estonian, Catalan or Tagalog, depending on the sampled n-grams
    assert len({tuple(language.is_language(short, code) for code in ("et", "ca", "tl")) for _ in range(50)}) == 1
    assert {"de", "en", "hi", "zh-cn"} <= language.supported_languages()
    assert len(language.supported_languages()) == 55


def test_language_does_not_change_the_global_seed():
    from langdetect import DetectorFactory

    language.is_language(ENGLISH, "en")
    assert DetectorFactory.seed is None

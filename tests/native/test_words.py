"""Words and keywords of texts in any script."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from srlm.native import NearDuplicateIndex, count_words, first_keywords, near_duplicates, rouge_l

from tests.conftest import DATA

POEMS = {
    "English": ("Write a short poem about spring", 6),
    "French": ("Écris un poème sur l'été", 5),
    "Russian": ("Напиши стихотворение про весну", 4),
    "Arabic": ("اكتب قصيدة قصيرة عن الربيع", 5),
    "Hindi": ("वसंत के बारे में एक कविता लिखो", 7),
    "Korean": ("봄에 대한 짧은 시를 써 주세요", 6),
    "Chinese": ("写一首关于春天的短诗。", 7),
    "Japanese": ("春についての短い詩を書いてください。", 11),
    "Thai": ("เขียนบทกวีเกี่ยวกับฤดูใบไม้ผลิ", 8),
    "Lao": ("ຂຽນບົດກະວີກ່ຽວກັບລະດູໃບໄມ້ປົ່ງ", 6),
    "Khmer": ("សរសេរកំណាព្យអំពីរដូវផ្ការីក", 5),
    "Burmese": ("နွေဦးအကြောင်း ကဗျာတစ်ပုဒ်ရေးပါ", 7),
    "Tibetan": ("དཔྱིད་ཀའི་སྐོར་སྙན་ངག་ཅིག་འབྲི་རོགས།", 8),
    "Amharic": ("ስለ፡ፀደይ፡አጭር፡ግጥም፡ጻፍ", 5),
    "Javanese": ("ꦱꦼꦫꦠ꧀ꦗꦮ", 5),
}


@pytest.mark.parametrize("language", POEMS)
def test_words_of_every_script(language):
    text, expected = POEMS[language]
    assert count_words([text]).tolist() == [expected]
    assert count_words([f"{text} {text}"]).tolist() == [2 * expected]


def test_counts_of_spaced_text_are_those_of_split():
    rng = random.Random(0)
    pieces = ["a", "é", "don't", "C++", "-", "\u00a0", " ", "\n", "हि", "한", "ж", "ק", "🖼", "."]
    texts = ["".join(rng.choices(pieces, k=rng.randrange(30))) for _ in range(500)]
    assert count_words(texts).tolist() == [len(text.split()) for text in texts]
    assert count_words([]).dtype == np.int64


@pytest.mark.skipif(not DATA.is_dir(), reason="no real data here")
def test_counts_of_real_prompts_are_those_of_split():
    file = DATA / "self-instruct" / "user_oriented_instructions.jsonl"
    texts = [json.loads(line)["instruction"] for line in file.read_text(encoding="utf-8").splitlines()]
    assert count_words(texts).tolist() == [len(text.split()) for text in texts]


@pytest.mark.parametrize(
    ("text", "keywords", "first"),
    [
        ("Draw a map of the sea", ["plot", "map", "draw"], 1),
        ("Please go\n to bed", ["go to"], 0),
        ("We go\u3000to", ["Go  To"], 0),
        ("the ego to", ["go to"], -1),
        ("Write it in c++.", ["C++"], 0),
        ("Write it in C.", ["C++"], -1),
        ("an E\u2011Mail to me", ["e-mail"], 0),
        ("email me", ["e-mail"], -1),
        ("a .NET service", [".net"], 0),
        ("see example.net", [".net"], -1),
        ("about AT&T's history", ["at&t"], 0),
        ("\uff29\uff2d\uff21\uff27\uff25 of a cat", ["image"], 0),
        ("请描述这张图片的内容", ["image", "图片"], 1),
        ("去图书馆看书", ["图"], -1),
        ("プロファイルを作成", ["ファイル"], -1),
        ("ﾌｧｲﾙを作成", ["ファイル"], 0),
        ("วาดแผนที่ประเทศไทย", ["แผนที่"], 0),
        ("anything", [], -1),
        ("\ud800", ["?"], 0),  # a lone surrogate is read as a question mark
    ],
)
def test_keywords(text, keywords, first):
    assert first_keywords([text], keywords).tolist() == [first]


def test_a_single_string_is_refused():
    for call in (lambda: count_words("text"), lambda: first_keywords("text", []), lambda: first_keywords([], "word")):
        with pytest.raises(TypeError, match="single str"):
            call()


SIMILAR = [
    ("请写一首关于春天和花朵的诗歌给我的朋友", "请写一首关于春天和花朵的诗歌给我的老师"),
    ("春についての短い詩を書いて友達に送ってください", "春についての短い詩を書いて先生に送ってください"),
    ("เขียนบทกวีสั้นๆเกี่ยวกับฤดูใบไม้ผลิให้เพื่อนของฉัน", "เขียนบทกวีสั้นๆเกี่ยวกับฤดูใบไม้ผลิให้ครูของฉัน"),
    ("សរសេរកំណាព្យអំពីរដូវផ្ការីកឲ្យមិត្ត", "សរសេរកំណាព្យអំពីរដូវផ្ការីកឲ្យគ្រូ"),
]


@pytest.mark.parametrize(("one", "other"), SIMILAR)
def test_similar_texts_of_scripts_without_spaces_are_found(one, other):
    """Of one word each, they would share nothing."""
    assert rouge_l(one, other, words="unicode") > 0.75
    assert near_duplicates([one, other], threshold=0.5, ngram=2).tolist() == [0, 0]
    assert rouge_l(one, one[::-1], words="unicode") < 0.75


def test_marks_belong_to_their_letters():
    assert rouge_l("दुनिया", "दुनया", words="unicode") == 0.0
    assert rouge_l("cafe\u0301 noir", "café noir", words="unicode") == 1.0
    index = NearDuplicateIndex(ngram=1, threshold=1.0)
    index.add(["བོད་ཡིག", "བོད ཡིག"])
    assert index.clusters().tolist() == [0, 0]

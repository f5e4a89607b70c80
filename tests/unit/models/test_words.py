"""Words by Unicode and by ICU's dictionaries."""

from __future__ import annotations

from itertools import pairwise

import pytest

from xlwh.models.words import segment, segmenter_name


def words(text: str, language: str) -> list[str]:
    return [text[start:end] for start, end in segment(text, language)]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "Don't stop, well-known friend!", ["Don't", "stop", ",", "well-known", "friend", "!"]),
        ("fr", "l’homme (aujourd'hui)", ["l’homme", "(", "aujourd'hui", ")"]),
        ("en", "'quoted' -- a_b", ["'", "quoted", "'", "-", "-", "a", "_", "b"]),
        ("en", "I ❤️ 3 cats 😀", ["I", "❤️", "3", "cats", "😀"]),
        ("hi", "क्\u200dया है\u200bठीक", ["क्\u200dया", "है", "ठीक"]),
        ("fa", "می\u200cخواهم", ["می\u200cخواهم"]),
        ("ko", "나는 집에 있다.", ["나는", "집에", "있다", "."]),
        ("tr", "", []),
        ("de", " \t\u0008\ufeff ", []),
        ("zh", "他立即给他妈妈打了电话。", ["他", "立即", "给", "他", "妈妈", "打", "了", "电话", "。"]),
        ("th", "เขาอยู่บ้าน", ["เขา", "อยู่", "บ้าน"]),
        ("ja", "私は東京へ行きました", ["私", "は", "東京", "へ", "行き", "ま", "した"]),
        ("km", "ខ្ញុំស្រឡាញ់ភាសាខ្មែរ", ["ខ្ញុំ", "ស្រឡាញ់", "ភាសាខ្មែរ"]),
        ("lo", "ຂ້ອຍຮັກພາສາລາວ", ["ຂ້ອຍ", "ຮັກ", "ພາສາ", "ລາວ"]),
        ("my", "မြန်မာစာကိုချစ်တယ်", ["မြန်မာ", "စာ", "ကို", "ချစ်", "တယ်"]),
        ("zh", "用iPhone-7打电话", ["用", "iPhone-7", "打电话"]),
        ("th", "ใช้Facebookทุกวัน", ["ใช้", "Facebook", "ทุก", "วัน"]),
        ("th", "ปี2563นี้", ["ปี", "2563", "นี้"]),
        ("lo", "ຂ້ອຍໃຊ້Facebookທຸກມື້", ["ຂ້ອຍ", "ໃຊ້", "Facebook", "ທຸກມື້"]),
        ("th", "๒๕๖๓", ["๒๕๖๓"]),
        ("ja", "データ", ["データ"]),
        ("en", "ok 👨‍👩‍👧‍👦👍🏽!", ["ok", "👨‍👩‍👧‍👦", "👍🏽", "!"]),
        ("en", "🇩🇪🇫🇷 go", ["🇩🇪", "🇫🇷", "go"]),
        ("en", "🏴󠁧󠁢󠁥󠁮󠁧󠁿1️⃣", ["🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣"]),
    ],
)
def test_words_of_a_text(language: str, text: str, expected: list[str]) -> None:
    assert words(text, language) == expected


def test_boundaries_are_code_points_beyond_the_basic_plane() -> None:
    assert words("😀妈妈😀😀电话", "zh") == ["😀", "妈妈", "😀", "😀", "电话"]


def test_a_script_without_spaces_is_cut_in_any_language() -> None:
    assert words("he said 我回来了 twice", "en") == ["he", "said", "我", "回来", "了", "twice"]
    assert words("我回来了", "no such language!") == ["我", "回来", "了"]


@pytest.mark.parametrize("language", ["zh", "zh-Hant", "zh_TW", "cmn"])
def test_codes_with_regions_and_scripts_are_understood(language: str) -> None:
    assert words("我回来了", language) == ["我", "回来", "了"]


def test_spans_are_ordered_and_cover_every_letter() -> None:
    text = "Ein Text, 一个文本 and ข้อความ 😀 (x_y)."
    spans = segment(text, "de")
    assert all(a < b for a, b in spans)
    assert all(b <= c for (_, b), (c, _) in pairwise(spans))
    covered = {position for start, end in spans for position in range(start, end)}
    assert {i for i, letter in enumerate(text) if not letter.isspace()} == covered


def test_the_segmenter_names_its_libraries_and_versions() -> None:
    from importlib.metadata import version

    from icu4py import icu_version

    assert segmenter_name("zh") == f"unicode-words-2/regex-{version('regex')}/icu-{icu_version}"

"""What a concept's words have in common, on hand-made concepts."""

from __future__ import annotations

import polars as pl
import pytest
from scipy.stats import hypergeom

from xlwh.concepts.kinds import affixes, commonest, entity_type, kind_of_tags, shared_affixes


def test_affixes_of_a_word() -> None:
    found = list(affixes("walking"))
    assert [affix for kind, affix in found if kind == "prefix"] == ["wa", "wal", "walk", "walki", "walkin"]
    assert ("suffix", "ing") in found
    infixes = [affix for kind, affix in found if kind == "infix"]
    assert infixes == ["alk", "alki", "alkin", "kin", "lki", "lkin"]
    assert list(affixes("a")) == list(affixes("")) == []
    assert ("prefix", "电") in set(affixes("电话"))
    assert list(affixes("an")) == []


def test_a_suffix_beyond_chance() -> None:
    ing = ["walking", "Talking", "running", "sitting", "talking"]
    other = ["house", "tree", "stone", "green", "swing", "water", "cloud", "river"]
    members = pl.DataFrame({"concept": [0] * 5 + [1] * 8, "word": ing + other})
    first, second = shared_affixes(members).to_dicts()
    assert (first["concept"], first["num_types"]) == (0, 4)
    assert (first["affix_kind"], first["affix"], first["affix_types"]) == ("suffix", "ing", 4)
    assert first["affix_base_rate"] == pytest.approx(5 / 12)
    # Affixes that three of these four types share: the suffixes "ng" and "ing" (four types each).
    assert first["affix_p"] == pytest.approx(2 * hypergeom.sf(3, 12, 5, 4))
    assert (second["num_types"], second["affix"], second["affix_p"]) == (8, None, None)


def test_the_longest_of_equally_unlikely_affixes() -> None:
    members = pl.DataFrame({"concept": [0, 0, 0, 1], "word": ["station", "nation", "ration", "x"]})
    assert shared_affixes(members).row(0, named=True)["affix"] == "ation"


def test_nothing_to_share() -> None:
    frame = shared_affixes(pl.DataFrame({"concept": [0, 1], "word": [".", "!"]}))
    assert frame["num_types"].to_list() == [1, 1]
    assert frame["affix"].null_count() == 2


def test_tags_by_their_form() -> None:
    assert kind_of_tags(["NOUN", "VERB"]) == "pos"
    assert kind_of_tags(["O", "B-PER", "I-PER"]) == "entity"
    assert kind_of_tags(["NN", "VB"]) is None
    assert kind_of_tags([]) is None
    assert [entity_type(tag) for tag in ("B-PER", "I-LOC", "O")] == ["PER", "LOC", "O"]


def test_the_commonest_tag_and_how_common_it_is_elsewhere() -> None:
    tagged = pl.DataFrame(
        {"concept": [0, 0, 0, 1, 1, 2], "tag": ["VERB", "NOUN", "NOUN", "NOUN", "VERB", "NOUN"]}
    )
    assert commonest(tagged, "pos").to_dicts() == [
        {"concept": 0, "num_pos_tagged": 3, "pos": "NOUN", "pos_tokens": 2, "pos_base_rate": 4 / 6},
        {"concept": 1, "num_pos_tagged": 2, "pos": "VERB", "pos_tokens": 1, "pos_base_rate": 2 / 6},
        {"concept": 2, "num_pos_tagged": 1, "pos": "NOUN", "pos_tokens": 1, "pos_base_rate": 4 / 6},
    ]
    assert commonest(tagged.clear(), "pos").height == 0

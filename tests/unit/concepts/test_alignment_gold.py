"""Readers of gold alignments, made up and real, and the error rate by hand."""

from __future__ import annotations

import pytest

from xlwh.concepts.alignment_gold import (
    GoldPair,
    agreement,
    read_jsonl,
    read_naacl,
    read_pharaoh,
    read_tsv,
)
from xlwh.errors import CorpusError


def test_error_rate_by_hand():
    gold = [
        GoldPair(("a", "b"), ("x", "y"), frozenset({(0, 0)}), frozenset({(0, 0), (1, 1)})),
        GoldPair(("a",), ("x",), frozenset({(0, 0)}), frozenset({(0, 0)})),
    ]
    found = agreement([[(0, 0), (1, 1), (1, 0)], []], gold)
    assert (found.sure, found.found, found.in_sure, found.in_possible) == (2, 3, 1, 2)
    assert found.error_rate == pytest.approx(1 - (1 + 2) / (3 + 2))
    assert (found.precision, found.recall) == (pytest.approx(2 / 3), 0.5)
    assert agreement([sorted(pair.sure) for pair in gold], gold).error_rate == 0


def test_pharaoh_counts_from_one_and_knows_possible_links(tmp_path):
    (tmp_path / "text").write_text("a\u3000 b ||| x y\n", encoding="utf-8")
    (tmp_path / "gold").write_text("1-1 2p2\n")
    [pair] = read_pharaoh(tmp_path / "text", tmp_path / "gold", first=1)
    assert pair.source == ("a\u3000", "b")
    assert (pair.sure, pair.possible) == ({(0, 0)}, {(0, 0), (1, 1)})
    with pytest.raises(CorpusError, match="not there"):
        read_pharaoh(tmp_path / "text", tmp_path / "gold", first=-1)


def test_other_forms(tmp_path):
    (tmp_path / "x.tsv").write_text("a b\tx y\t0-1 1-0\n")
    assert read_tsv(tmp_path / "x.tsv")[0].sure == {(0, 1), (1, 0)}
    (tmp_path / "x.jsonl").write_text('{"src_words": ["a"], "tgt_words": ["x"], "alignment": [[0, 0]]}\n')
    assert read_jsonl(tmp_path / "x.jsonl")[0].sure == {(0, 0)}
    (tmp_path / "e").write_text("<s snum=0001> a b </s>\n")
    (tmp_path / "f").write_text("<s snum=0001> x y </s>\n")
    (tmp_path / "wa").write_text("0001 1 1 S\n0001 2 2 P\n0001 0 1 S\n")
    [pair] = read_naacl(tmp_path / "e", tmp_path / "f", tmp_path / "wa")
    assert (pair.source, pair.sure, pair.possible) == (("a", "b"), {(0, 0)}, {(0, 0), (1, 1)})


@pytest.mark.parametrize(("links", "message"), [("0-9", "not there"), ("0:1", "no link")])
def test_errors_name_the_line(tmp_path, links, message):
    (tmp_path / "x.tsv").write_text(f"a b\tx y\t0-1\na b\tx y\t{links}\n")
    with pytest.raises(CorpusError, match=f"line 2.*{message}"):
        read_tsv(tmp_path / "x.tsv")


def test_published_sets(shared):
    folder = shared / "data" / "wordalign"
    assert len(read_tsv(folder / "xlwa" / "es" / "test.tsv")) == 245
    awesome = folder / "awesome_align"
    assert len(read_pharaoh(awesome / "jaen.src-tgt", awesome / "jaen.gold", first=1)) == 582
    assert len(read_jsonl(folder / "golden_collection" / "train" / "en-es" / "es_golden.jsonl")) == 90
    hansards = folder / "hansards_enfr" / "test"
    pairs = read_naacl(hansards / "test.e", hansards / "test.f", hansards / "test.wa.nonullalign")
    assert len(pairs) == 447
    assert sum(len(pair.sure) for pair in pairs) == 4038
    assert sum(len(pair.possible) for pair in pairs) == 17438

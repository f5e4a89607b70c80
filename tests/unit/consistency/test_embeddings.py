"""Words to mean input embeddings: which sub-tokens count."""

from __future__ import annotations

import numpy as np

from xlwh.consistency import embeddings
from xlwh.consistency.embeddings import input_embedding, word_embedder


def test_unknown_pieces_and_special_tokens_do_not_count(checkpoint, zoo_of, monkeypatch):
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    matrix = input_embedding(loaded)
    assert matrix.shape == (loaded.config.vocab_size, loaded.config.hidden_size)
    monkeypatch.setattr(embeddings, "_BATCH", 2)
    vectors, covered = word_embedder(loaded, "en")(["the", "€", "hund", "cat cat", "he"])
    assert covered.tolist() == [True, False, True, True, True]
    ids = loaded.tokenizer.convert_tokens_to_ids(["the", "hund", "cat", "h", "##e"])
    np.testing.assert_allclose(vectors[0], matrix[ids[0]], atol=1e-6)
    np.testing.assert_allclose(vectors[2:4], matrix[ids[1:3]], atol=1e-6)
    np.testing.assert_allclose(vectors[4], matrix[ids[3:]].mean(axis=0), atol=1e-6)
    assert not vectors[1].any()


def test_no_words(checkpoint, zoo_of):
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    vectors, covered = word_embedder(loaded, "en")([])
    assert vectors.shape == (0, loaded.config.hidden_size)
    assert len(covered) == 0

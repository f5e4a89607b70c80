"""Perturbed probabilities of every family, against inputs made by hand and evaluated one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from xlwh.faithfulness.perturbations import Perturbed, Row, Subject, perturb
from xlwh.models import LoadedModel
from xlwh.models.predict import predict
from xlwh.models.tokenize import Encoded
from xlwh.study import Faithfulness

Case = tuple[LoadedModel, Encoded, list[Subject]]
HARD = Faithfulness(ratios=(0.1, 0.5, 1.0), soft_draws=0, masking=("mask", "pad", "delete", "zero_id"))


def one_probability(
    loaded: LoadedModel, encoded: Encoded, subject: Subject, ids: list[int], keep: list[int]
) -> float:
    """The class's probability for the tokens `keep` of an example with ids replaced, without any padding.

    The text that a decoder reads off its last token stays where it is, as the embedding is what is replaced.
    """
    row = encoded.row(subject.example)
    types = encoded.token_type_ids
    shown = torch.tensor([ids])
    inputs = loaded.family.model_inputs(
        loaded.model,
        shown,
        torch.ones_like(shown),
        None if types is None else torch.from_numpy(types[row][keep])[None].long(),
    )
    embedding = loaded.family.word_embedding(loaded.model)
    vectors = embedding(shown)
    if loaded.family.name == "decoder":
        inputs["input_ids"] = torch.full_like(shown, 7)
    handle = embedding.register_forward_hook(lambda *_: vectors)
    with torch.inference_mode():
        logits = loaded.model(**inputs).logits[0].double()
    handle.remove()
    return float(logits.softmax(-1)[subject.target])


def by_hand(loaded: LoadedModel, encoded: Encoded, subject: Subject, row: Row) -> float:
    """The probability of one hard row, worked out from its scores alone."""
    place = encoded.row(subject.example)
    special, segment = encoded.special[place], encoded.segment[place]
    free = [i for i in range(len(special)) if not special[i] and segment[i] != 1]
    scores = next(r.scores for r in subject.rankings if (r.method, r.repeat) == (row.method, row.repeat))
    assert row.ratio is not None
    top = sorted(free, key=lambda i: (-scores[i], i))[: math.ceil(row.ratio * len(free))]
    removed = [i for i in free if i not in top] if row.side == "sufficiency" else top
    ids = encoded.input_ids[place].tolist()
    tokenizer = loaded.tokenizer
    if row.masking == "delete":
        keep = [i for i in range(len(ids)) if i not in removed]
        if not keep:
            return one_probability(loaded, encoded, subject, [tokenizer.pad_token_id], [0])
        return one_probability(loaded, encoded, subject, [ids[i] for i in keep], keep)
    mask = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.pad_token_id
    instead = {"mask": mask, "pad": tokenizer.pad_token_id, "zero_id": 0}[row.masking]
    shown = [instead if i in removed else token for i, token in enumerate(ids)]
    return one_probability(loaded, encoded, subject, shown, list(range(len(ids))))


def found(case: Case, settings: Faithfulness) -> Perturbed:
    return perturb(*case, settings)


def test_hard_rows_are_those_made_by_hand(any_case: Case) -> None:
    loaded, encoded, subjects = any_case
    made = found(any_case, HARD)
    # Four rankings, two sides, three ratios, four maskings.
    assert len(made.rows) == len(subjects) * 4 * 2 * 3 * 4
    logits = torch.from_numpy(predict(loaded, encoded)).double().softmax(-1)
    for row in made.rows[::5]:
        subject = subjects[row.subject]
        expected = by_hand(loaded, encoded, subject, row)
        assert row.p_perturbed == pytest.approx(expected, abs=1e-4), row
        assert row.p_full == pytest.approx(float(logits[subject.example, subject.target]), abs=1e-4)


def test_the_ends_are_the_whole_and_the_empty_input(any_case: Case) -> None:
    for row in found(any_case, HARD).rows:
        if row.ratio == 1.0:
            assert row.p_perturbed == (row.p_full if row.side == "sufficiency" else row.p_empty)


def test_equal_kept_sets_are_evaluated_once(any_case: Case) -> None:
    made = found(any_case, HARD)
    seen = {(row.subject, row.masking, row.kept_hash): row.p_perturbed for row in made.rows}
    assert all(seen[row.subject, row.masking, row.kept_hash] == row.p_perturbed for row in made.rows)
    assert made.num_evaluated < len(made.rows)
    # The whole inputs, and every set that is not the whole input (or the empty one, which is looked at anyway).
    assert made.num_evaluated <= len(any_case[2]) + len(seen)


def test_the_query_is_kept_unless_told_otherwise(case_of: Callable[[str], Case]) -> None:
    case = case_of("xlm-roberta")
    _, encoded, subjects = case
    for keep_query, word in ((True, "kept"), (False, "perturbed")):
        settings = HARD.model_copy(update={"keep_query": keep_query, "masking": ("mask",)})
        for row in found(case, settings).rows:
            place = encoded.row(subjects[row.subject].example)
            free = ~encoded.special[place] & (True if not keep_query else encoded.segment[place] == 0)
            assert row.num_attributable == int(free.sum())
            assert row.query == word
    # Its first text is empty: nothing can be perturbed, and nothing changes.
    empty = [row for row in found(case, HARD).rows if row.subject == 2]
    assert {row.num_attributable for row in empty} == {0}
    assert all(row.p_perturbed == row.p_full == row.p_empty for row in empty)


def test_importance_by_size_ranks_negative_scores_too(case_of: Callable[[str], Case]) -> None:
    loaded, encoded, subjects = case_of("bert")
    settings = HARD.model_copy(update={"importance": ("signed", "abs"), "masking": ("mask",)})
    rows = perturb(loaded, encoded, subjects, settings).rows
    assert {row.importance for row in rows} == {"signed", "abs"}
    for row in rows[::7]:
        if row.importance == "abs":
            subject = subjects[row.subject]
            absolute = tuple(ranking._replace(scores=np.abs(ranking.scores)) for ranking in subject.rankings)
            expected = by_hand(loaded, encoded, Subject(subject.example, subject.target, absolute), row)
            assert row.p_perturbed == pytest.approx(expected, abs=1e-4)


SOFT = Faithfulness(ratios=(1.0,), soft_draws=2, random_draws=2)


def test_soft_masks_of_zeros_and_ones_are_whole_and_empty_vectors(any_case: Case) -> None:
    """Scores of 0 and 1 leave no chance: the vectors are kept or zeroed, and can be made by hand."""
    loaded, encoded, subjects = any_case
    embedding = loaded.family.word_embedding(loaded.model)
    sharp = []
    for subject in subjects[:2]:
        place = encoded.row(subject.example)
        scores = (np.arange(place.stop - place.start) % 2).astype(np.float64)
        sharp.append(Subject(subject.example, subject.target, (subject.rankings[0]._replace(scores=scores),)))
    rows = [row for row in perturb(loaded, encoded, sharp, SOFT).rows if row.mode == "soft"]
    assert len(rows) == 2 * 2 * 2
    for row in rows:
        subject = sharp[row.subject]
        place = encoded.row(subject.example)
        free = ~encoded.special[place] & (encoded.segment[place] != 1)
        scores = subject.rankings[0].scores
        keep = ~free | (scores == 1 if row.side == "sufficiency" else scores == 0)
        ids = torch.from_numpy(encoded.input_ids[place].astype(np.int64))[None]
        types = encoded.token_type_ids
        inputs = loaded.family.model_inputs(
            loaded.model,
            ids,
            torch.ones_like(ids),
            None if types is None else torch.from_numpy(types[place])[None].long(),
        )
        for mask, value in ((keep, row.p_perturbed), (~free, row.p_empty)):
            vectors = embedding(ids) * torch.from_numpy(mask)[None, :, None]
            handle = embedding.register_forward_hook(lambda *_, v=vectors: v)
            with torch.inference_mode():
                logits = loaded.model(**inputs).logits[0].double()
            handle.remove()
            assert value == pytest.approx(float(logits.softmax(-1)[subject.target]), abs=1e-4)


def test_soft_draws_depend_on_the_example_and_the_draw_alone(case_of: Callable[[str], Case]) -> None:
    loaded, encoded, subjects = case_of("roberta")
    made = [row for row in perturb(loaded, encoded, subjects, SOFT).rows if row.mode == "soft"]
    alone = [row for row in perturb(loaded, encoded, subjects[1:2], SOFT).rows if row.mode == "soft"]
    together = [row for row in made if row.subject == 1]
    assert [row.p_perturbed for row in alone] == pytest.approx(
        [row.p_perturbed for row in together], abs=1e-5
    )
    draws = {
        row.repeat: row.p_perturbed for row in together if (row.method, row.side) == ("up", "sufficiency")
    }
    assert len(set(draws.values())) == 2
    assert {(row.method, row.repeat) for row in together} == {
        (method, draw) for method in ("up", "down", "random") for draw in (0, 1)
    }


def test_batching_changes_nothing(any_case: Case) -> None:
    loaded, encoded, subjects = any_case
    settings = Faithfulness(ratios=(0.2, 0.5), soft_draws=1, random_draws=2)
    small = settings.model_copy(update={"batch_tokens": 64})
    one = [row.p_perturbed for row in perturb(loaded, encoded, subjects, settings).rows]
    other = [row.p_perturbed for row in perturb(loaded, encoded, subjects, small).rows]
    np.testing.assert_allclose(one, other, atol=1e-5)

"""Perturbed probabilities of every family, against inputs made by hand and evaluated one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from xlwh.attribution.random import draw
from xlwh.draws import stream
from xlwh.errors import ModelError
from xlwh.faithfulness.perturbations import Perturbed, Row, Subject, perturb, perturbation_rows
from xlwh.faithfulness.selection import keep_probability
from xlwh.models import LoadedModel, Zoo
from xlwh.models.batches import collate
from xlwh.models.predict import predict
from xlwh.models.tokenize import Encoded, encode
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


def is_released(loaded: LoadedModel, row: Row) -> bool:
    """Whether a row is cut as the released code of the paper does it, which knows BERT's layout only."""
    return row.masking == "zero_id" and loaded.family.name in ("bert", "roberta", "xlm")


def released_by_hand(
    loaded: LoadedModel, encoded: Encoded, subject: Subject, row: Row
) -> tuple[list[int], list[int]]:
    """Positions that the released code keeps, of the perturbed and of the empty input."""
    place = encoded.row(subject.example)
    ids, segment = encoded.input_ids[place].tolist(), encoded.segment[place].tolist()
    ends = [i for i, token in enumerate(ids) if token == loaded.tokenizer.sep_token_id]
    scores = next(r.scores for r in subject.rankings if (r.method, r.repeat) == (row.method, row.repeat))
    pair = 1 in segment
    ranked = range(1, ends[0]) if pair else range(1, len(ids))
    assert row.ratio is not None
    k = math.ceil(np.float32(ends[0]) * np.float32(row.ratio))
    top = sorted(ranked, key=lambda i: (-scores[i], i))[:k]
    assert (row.k, row.num_attributable) == (len(top), len(ranked))
    query = list(range(ends[-2], ends[-1] + 1)) if pair else []
    between = list(range(ends[0], ends[1] + 1)) if pair else []
    if row.side == "sufficiency":
        left = {0, ends[0], *top, *query, *between}
    else:
        left = ({*range(len(ids))} - {*top, *between}) | {0, ends[0]}
    return sorted(left), query


def by_hand(loaded: LoadedModel, encoded: Encoded, subject: Subject, row: Row) -> float:
    """The probability of one hard row, worked out from its scores alone."""
    place = encoded.row(subject.example)
    if is_released(loaded, row):
        left, _ = released_by_hand(loaded, encoded, subject, row)
        shown = [token if i in left else 0 for i, token in enumerate(encoded.input_ids[place].tolist())]
        return one_probability(loaded, encoded, subject, shown, list(range(len(shown))))
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
        if row.ratio == 1.0 and not is_released(any_case[0], row):
            assert row.p_perturbed == (row.p_full if row.side == "sufficiency" else row.p_empty)


def test_the_released_baseline_is_of_id_0_but_for_the_query(any_case: Case) -> None:
    loaded, encoded, subjects = any_case
    rows = [row for row in found(any_case, HARD).rows if row.masking == "zero_id"]
    released = loaded.family.name in ("bert", "roberta", "xlm")
    assert {row.empty_input for row in rows} == {"all" if released else "attributable"}
    for row in rows[::11] if released else []:
        subject = subjects[row.subject]
        _, query = released_by_hand(loaded, encoded, subject, row)
        ids = encoded.input_ids[encoded.row(subject.example)].tolist()
        shown = [token if i in query else 0 for i, token in enumerate(ids)]
        expected = one_probability(loaded, encoded, subject, shown, list(range(len(ids))))
        assert row.p_empty == pytest.approx(expected, abs=1e-4)


def test_equal_kept_sets_are_evaluated_once(any_case: Case) -> None:
    made = found(any_case, HARD)
    # The released code's comprehensiveness takes the query away too, so one set of the first text is two inputs there.
    seen = {
        (row.subject, row.masking, row.kept_hash, is_released(any_case[0], row) and row.side): row.p_perturbed
        for row in made.rows
    }
    assert all(
        seen[row.subject, row.masking, row.kept_hash, is_released(any_case[0], row) and row.side]
        == row.p_perturbed
        for row in made.rows
    )
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
    empty = [row for row in found(case, HARD).rows if row.subject == 2 and row.masking != "zero_id"]
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


@pytest.mark.parametrize("family", ["roberta", "llama"])
def test_soft_masks_are_of_the_streams_of_the_host_wherever_a_row_is_padded(
    family: str, case_of: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, encoded, subjects = case_of(family)
    seen: list[tuple[Encoded, Any]] = []

    def capture(_: Any, inputs: Encoded, *given: Any, **__: Any) -> NDArray[np.float64]:
        if len(given) == 3:
            seen.append((inputs, given[2]))
        return np.zeros(len(inputs))

    monkeypatch.setattr("xlwh.faithfulness.perturbations.probabilities", capture)
    perturb(loaded, encoded, subjects, SOFT)
    ((inputs, multiplier),) = seen
    # By subject two draws, in each three rankings with two sides.
    rows = np.array([6, 0, 1, 18, 12, 13, 36], dtype=np.int64)
    for length in (64, 96):
        batch = collate(loaded, inputs, rows, length)
        masks = multiplier(rows, batch).numpy()
        for mask, real, row in zip(masks, batch.real, rows.tolist(), strict=True):
            subject, draw, side = row // 12, row % 12 // 6, ("sufficiency", "comprehensiveness")[row % 2]
            place = encoded.row(subject)
            free = ~encoded.special[place] & (encoded.segment[place] != 1)
            keep = keep_probability(subjects[subject].rankings[0].scores, free, side)
            drawn = stream("soft", encoded.names[subject], draw).uniform32(len(keep), mask.shape[1])
            np.testing.assert_array_equal(mask[real], drawn < keep[:, None])
            assert not mask[~real].any()


REVERSED = Faithfulness(ratios=(1.0,), soft_draws=2, random_draws=2, soft_masking=("bernoulli_reversed",))


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_the_released_soft_mask_is_multiplied_in_after_the_first_norm(
    family: str, case_of: Callable[[str], Case]
) -> None:
    """Scores of -1 and 1 leave no chance, so that what enters the first layer can be made by hand.

    The model's own embeddings (words, positions, types, norm) come from its hidden state 0 of the unmasked input.
    """
    loaded, encoded, subjects = case_of(family)
    sharp = []
    for subject in subjects[:2]:
        place = encoded.row(subject.example)
        scores = np.where(np.arange(place.stop - place.start) % 2 == 1, 1.0, -1.0)
        sharp.append(Subject(subject.example, subject.target, (subject.rankings[0]._replace(scores=scores),)))
    rows = [row for row in perturb(loaded, encoded, sharp, REVERSED).rows if row.mode == "soft"]
    assert len(rows) == 2 * 2 * 2
    assert {(row.masked_at, row.empty_input) for row in rows} == {("embedding_output", "all")}
    layers = loaded.family.hidden_sites(loaded.model)
    for row in rows:
        subject = sharp[row.subject]
        place = encoded.row(subject.example)
        ids = torch.from_numpy(encoded.input_ids[place].astype(np.int64))[None]
        ends = torch.nonzero(ids[0] == loaded.tokenizer.sep_token_id)[:, 0].tolist()
        pair = 1 in encoded.segment[place].tolist()
        scores = torch.from_numpy(subject.rankings[0].scores).clone()
        ranked = torch.arange(len(scores))
        scores[~((ranked > 0) & ((ranked < ends[0]) if pair else (ranked > -1)))] = -1.0
        keep = scores == (-1 if row.side == "sufficiency" else 1)
        types = encoded.token_type_ids
        inputs = loaded.family.model_inputs(
            loaded.model,
            ids,
            torch.ones_like(ids),
            None if types is None else torch.from_numpy(types[place])[None].long(),
        )
        handle = layers[0].module.register_forward_pre_hook(
            lambda _, args, kept=keep: (args[0] * kept[None, :, None], *args[1:])
        )
        with torch.inference_mode():
            logits = loaded.model(**inputs).logits[0].double()
        handle.remove()
        assert row.p_perturbed == pytest.approx(float(logits.softmax(-1)[subject.target]), abs=1e-4)


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_the_released_soft_mask_is_refused_by_name_where_there_is_nothing_to_multiply_it_into(
    family: str, case_of: Callable[[str], Case]
) -> None:
    with pytest.raises(ModelError, match=r"Model `m`.*does not normalise a sum.*soft_masking"):
        perturb(*case_of(family), REVERSED)


def test_the_released_code_draws_random_scores_once(case_of: Callable[[str], Case]) -> None:
    rows = [row for row in perturb(*case_of("bert"), REVERSED).rows if row.mode == "soft"]
    assert {(row.method, row.repeat) for row in rows if row.method == "random"} == {
        ("random", 0),
        ("random", 1),
    }
    alone = [
        row
        for row in perturb(*case_of("bert"), REVERSED.model_copy(update={"soft_draws": 1})).rows
        if row.mode == "soft" and row.method == "random"
    ]
    first = [row for row in rows if row.method == "random" and row.repeat == 0]
    assert [row.p_perturbed for row in alone] == pytest.approx([row.p_perturbed for row in first], abs=1e-5)


def test_batching_changes_nothing(any_case: Case) -> None:
    loaded, encoded, subjects = any_case
    settings = Faithfulness(ratios=(0.2, 0.5), soft_draws=1, random_draws=2)
    small = settings.model_copy(update={"batch_tokens": 64})
    one = [row.p_perturbed for row in perturb(loaded, encoded, subjects, settings).rows]
    other = [row.p_perturbed for row in perturb(loaded, encoded, subjects, small).rows]
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_each_draw_of_random_scores_is_one_of_its_own(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    """Numbered from 0, as many as hard or soft rows ask for, named by the example; rows bear the number of theirs."""
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    labels = loaded.labels or ()
    texts = [("the cat sees the dog and the dog", None), ("der Hund und the cat sits", None)]
    examples = frame(texts).with_columns(target=pl.lit(labels[0]))
    asked: list[tuple[str, int]] = []

    def numbered(name: str, number: int, size: int) -> NDArray[np.float64]:
        asked.append((name, number))
        return draw(name, number, size)

    settings = Faithfulness(ratios=(0.5,), random_draws=3, soft_draws=2)
    rows, _ = perturbation_rows(loaded, examples, {}, {"random": numbered}, settings)
    names = encode(loaded, examples).names
    assert sorted(asked) == sorted((name, number) for name in names for number in range(3))
    hard = rows.filter(mode="hard", side="sufficiency", masking="mask")
    assert hard["repeat"].to_list() == [0, 1, 2] * 2
    assert hard.group_by("example_id").agg(pl.col("kept_hash").n_unique())["kept_hash"].min() > 1
    soft = rows.filter(mode="soft", side="sufficiency")
    assert soft["p_perturbed"].n_unique() == soft.height == 4
    # The second soft draw is of the second scores: with the first ones again it is another number.
    again, _ = perturbation_rows(
        loaded, examples, {}, {"random": lambda name, _, size: draw(name, 0, size)}, settings
    )
    other = again.filter(mode="soft", side="sufficiency")
    changed = (soft["p_perturbed"] - other["p_perturbed"]).abs() > 1e-9
    assert changed.to_list() == (soft["repeat"] > 0).to_list()

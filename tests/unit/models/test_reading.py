"""The position that a head reads, where PAD also closes each text: everywhere the one that transformers' pass reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.attribution.base import Item
from xlwh.attribution.lig import lig
from xlwh.attribution.occlusion import occlusion
from xlwh.attribution.saliency import saliency
from xlwh.errors import ModelError
from xlwh.faithfulness.perturbations import Ranking, Subject, perturb
from xlwh.models import LoadedModel, Zoo
from xlwh.models.attentions import eager_attention
from xlwh.models.batches import collate
from xlwh.models.predict import predict
from xlwh.models.reading import read_positions
from xlwh.models.tokenize import Encoded, encode
from xlwh.study import AttentionWeights, Faithfulness, InputXGradient, Lig, Occlusion, ScaledAttention

Case = tuple[LoadedModel, Encoded]
DECODERS = ("llama", "mistral", "qwen2", "qwen3")


@pytest.fixture(params=DECODERS)
def case(
    request: pytest.FixtureRequest,
    closing_checkpoint: Callable[[str], Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
) -> Case:
    loaded = zoo_of(m={"path": str(closing_checkpoint(request.param))}).load("m")
    return loaded, encode(loaded, frame([*pairs[:4], ("cat", "the"), ("", "Hund")]))


def alone(loaded: LoadedModel, encoded: Encoded, row: int) -> tuple[torch.Tensor, int]:
    """Ids `[1, length]` of an example, and the place that transformers reads: the last one that is not PAD."""
    ids = torch.from_numpy(encoded.input_ids[encoded.row(row)].astype(np.int64))[None]
    return ids, int((ids[0] != loaded.tokenizer.pad_token_id).nonzero().max())


def test_the_closing_token_is_not_what_is_read(case: Case) -> None:
    loaded, encoded = case
    for side in ("left", "right"):
        batch = collate(loaded, encoded, np.arange(len(encoded)), int(encoded.lengths.max()) + 3, side)  # type: ignore[arg-type]
        found = read_positions(loaded, batch.inputs(loaded)) - batch.attention_mask.argmax(dim=1)
        for row in range(len(encoded)):
            ids, place = alone(loaded, encoded, row)
            assert place == ids.shape[1] - 2
            assert int(found[row]) == place


def test_attention_is_the_row_that_is_read(case: Case) -> None:
    loaded, encoded = case
    items = [Item(row, row % 3) for row in range(len(encoded))]
    methods: dict[str, Any] = {"attention": AttentionWeights(), "scaled_attention": ScaledAttention()}
    for wanted in (methods, {"attention": AttentionWeights()}):
        for index, found in saliency(loaded, encoded, items, wanted, 512):
            ids, place = alone(loaded, encoded, index)
            with torch.no_grad(), eager_attention(loaded.model):
                weights = loaded.model(input_ids=ids, output_attentions=True).attentions[-1]
            np.testing.assert_allclose(
                found["attention"].values, weights[0, :, place].mean(0).numpy(), atol=1e-5
            )


def test_every_path_gives_the_predicted_logit_and_probability(case: Case) -> None:
    loaded, encoded = case
    logits = predict(loaded, encoded)
    for row in range(len(encoded)):
        with torch.no_grad():
            own = loaded.model(input_ids=alone(loaded, encoded, row)[0]).logits[0].numpy()
        np.testing.assert_allclose(logits[row], own, atol=1e-5)
    items = [Item(row, int(logits[row].argmax())) for row in range(len(encoded))]
    made = [
        *lig(loaded, encoded, items, Lig(max_rows=16), 512),
        *occlusion(loaded, encoded, items, Occlusion(), 512),
        *(
            (index, found["input_x_gradient"])
            for index, found in saliency(loaded, encoded, items, {"input_x_gradient": InputXGradient()}, 512)
        ),
    ]
    for index, found in made:
        assert found.f_input == pytest.approx(logits[index].max(), abs=1e-4)
    rng = np.random.default_rng(0)
    subjects = [
        Subject(row, item.target, (Ranking("up", 0, rng.normal(size=int(encoded.lengths[row]))),))
        for row, item in enumerate(items)
    ]
    settings = Faithfulness(
        ratios=(0.3, 1.0), soft_draws=1, random_draws=1, masking=("mask", "pad", "delete", "zero_id")
    )
    expected = torch.from_numpy(logits).double().softmax(-1).max(dim=-1).values
    rows = perturb(loaded, encoded, subjects, settings).rows
    assert {row.mode for row in rows} == {"hard", "soft"}
    for row in rows:
        assert row.p_full == pytest.approx(float(expected[row.subject]), abs=1e-5)
    # By hand, one at a time: the word vectors of PAD, read where the whole text is read.
    for row in rows:
        if row.mode == "hard" and row.masking in ("pad", "delete") and row.k is not None:
            assert row.p_perturbed == pytest.approx(by_hand(case, subjects[row.subject], row), abs=1e-5)


def by_hand(case: Case, subject: Subject, row: Any) -> float:
    loaded, encoded = case
    place = encoded.row(subject.example)
    free = np.flatnonzero(~encoded.special[place] & (encoded.segment[place] != 1))
    order = free[np.argsort(-subject.rankings[0].scores[free], kind="stable")]
    top = set(order[: row.k].tolist())
    removed = [i for i in free.tolist() if (i in top) == (row.side == "comprehensiveness")]
    ids, _ = alone(loaded, encoded, subject.example)
    if row.masking == "delete":
        kept = [i for i in range(ids.shape[1]) if i not in removed]
        with torch.no_grad():
            logits = loaded.model(input_ids=ids[:, kept]).logits
        return float(logits[0].double().softmax(-1)[subject.target])
    embedding = loaded.family.word_embedding(loaded.model)
    shown = ids.clone()
    shown[0, removed] = int(loaded.tokenizer.pad_token_id)
    vectors = embedding(shown)
    handle = embedding.register_forward_hook(lambda *_: vectors)
    with torch.no_grad():
        logits = loaded.model(input_ids=ids).logits
    handle.remove()
    return float(logits[0].double().softmax(-1)[subject.target])


def test_a_text_of_padding_alone_is_read_at_its_own_first_token(
    closing_checkpoint: Callable[[str], Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
) -> None:
    """An empty text whose only token is the closing one: in a batch as alone, and never a column of padding."""
    loaded = zoo_of(m={"path": str(closing_checkpoint("qwen2"))}).load("m")
    encoded = encode(loaded, frame([("", None), ("The cat sits on the mat.", None), ("cat", None)]))
    assert encoded.input_ids[encoded.row(0)].tolist() == [loaded.tokenizer.pad_token_id]
    together = predict(loaded, encoded)
    for row in range(3):
        with torch.no_grad():
            own = loaded.model(input_ids=alone_ids(encoded, row)).logits[0].numpy()
        np.testing.assert_allclose(together[row], own, atol=1e-5)
    # The same where everything else is deleted.
    subject = Subject(1, 0, (Ranking("up", 0, np.arange(float(encoded.lengths[1]))),))
    settings = Faithfulness(ratios=(1.0,), soft_draws=1, random_draws=1, masking=("delete",))
    rows = perturb(loaded, encoded, [subject], settings).rows
    empty = torch.from_numpy(together).double().softmax(-1)[0, 0]
    assert {round(row.p_empty, 5) for row in rows if row.mode == "hard"} == {round(float(empty), 5)}


def alone_ids(encoded: Encoded, row: int) -> torch.Tensor:
    return torch.from_numpy(encoded.input_ids[encoded.row(row)].astype(np.int64))[None]


def test_a_head_that_reads_all_positions_has_no_row_of_attention(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("xlm"))}).load("m")
    loaded.model.sequence_summary.summary_type = "mean"
    encoded = encode(loaded, frame([("The cat sits.", "cat"), ("cat", "the")]))
    with pytest.raises(ModelError, match=r"its head reads \d+ positions of the last hidden state"):
        list(saliency(loaded, encoded, [Item(0, 0), Item(1, 0)], {"attention": AttentionWeights()}, 512))


def test_classes_that_cancel_out_hide_nothing(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    """The sum of the logits of this head is constant; the position is found nevertheless."""
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    weight = loaded.model.classifier.weight.data
    weight[2] = -weight[0] - weight[1]
    encoded = encode(loaded, frame([("The cat sits.", "cat"), ("cat", "the")]))
    batch = collate(loaded, encoded, np.arange(2), int(encoded.lengths.max()))
    assert read_positions(loaded, batch.inputs(loaded)).tolist() == [0, 0]

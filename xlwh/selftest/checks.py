"""How each item is tried: a function of a case, which returns what it measured or raises what went wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from xlwh.attribution.base import Attribution
from xlwh.attribution.baselines import PREFERRED_BY_LIG, first_regular
from xlwh.attribution.lig import integrated_gradients, lig
from xlwh.attribution.vectors import explained, word_vectors
from xlwh.draws import stream
from xlwh.errors import ModelError, XlwhError
from xlwh.faithfulness.inputs import probabilities, repeated
from xlwh.heads.stack import stack_of
from xlwh.heads.walks import Gates
from xlwh.models.attentions import attentions
from xlwh.models.batches import Batch
from xlwh.models.gates import gated, open_gates
from xlwh.models.hidden import hidden_states, places
from xlwh.models.hooks import on_call
from xlwh.models.outputs import output_replaced
from xlwh.models.predict import predict
from xlwh.models.reading import read_positions
from xlwh.selftest.case import (
    CLASSIFIER,
    READER,
    TAGGER,
    Case,
    Measured,
    NotApplicable,
    OnlyError,
    compared,
    deviation,
    largest,
)
from xlwh.selftest.items import ITEMS, Item, Result
from xlwh.study import Lig
from xlwh.study.attribution import IntegratedGradients

if TYPE_CHECKING:
    import polars as pl

    from xlwh.models.loaded import LoadedModel

PROBABILITY_TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Deviation allowed in probabilities, absolute, by number format."""
COMPLETENESS_TOLERANCE = 0.1
"""Completeness error allowed, relative to the change of the output (or a twentieth of the output, if that is more)."""
LIG_ROWS = 512
"""Gradient rows an example at most; few are needed, since the item asks for the right path and not for the last digit."""
BATCH_TOKENS = 1024


def token_ids(case: Case) -> Measured:
    """Ids and types of examples that are not cut, against the tokenizer called on the text."""
    loaded, encoded = case.loaded, case.encoded
    if loaded.tokenization is not None:
        raise NotApplicable("Its words are cut into other sub-tokens on purpose.")
    tokenizer, unknown = loaded.tokenizer, loaded.tokenizer.unk_token_id
    wrong, tried = [], 0
    for row, (text, pair) in enumerate(case.examples.select("text", "text_pair").iter_rows()):
        if encoded.num_truncated[row]:
            continue
        place = encoded.row(row)
        texts = (text,) if pair is None else (text, loaded.family.pair_separator + pair)
        own = tokenizer(*texts, split_special_tokens=True, verbose=False)
        ids, theirs = encoded.input_ids[place].tolist(), list(own["input_ids"])
        if not theirs:
            continue  # an empty text without special tokens, which is given a blank
        tried += 1
        # A text that spells out a special token is given the unknown one for it.
        structure = loaded.family.special_ids(tokenizer)
        same = len(ids) == len(theirs) and all(
            mine == their or (mine == unknown and their in structure)
            for mine, their in zip(ids, theirs, strict=True)
        )
        if encoded.token_type_ids is not None:
            same = same and encoded.token_type_ids[place].tolist() == list(own["token_type_ids"])
        if not same:
            wrong.append(f"`{case.examples['example_id'][row]}` ({case.examples['language'][row]})")
    if not tried:
        raise NotApplicable("Every example is longer than the model takes.")
    outcome = (
        f"other ids than the tokenizer's own: {', '.join(wrong)}" if wrong else "the tokenizer's own ids"
    )
    return Measured(len(wrong) / tried, 0.0, f"{tried} texts, {outcome}.")


def own_forward(case: Case) -> Measured:
    """Each example by its ids alone: positions, the decoder's input and the place of the head are transformers'."""
    loaded, encoded = case.loaded, case.encoded
    theirs = []
    for row in range(len(encoded)):
        batch = case.batch([row])
        given = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if batch.token_type_ids is not None and getattr(loaded.config, "type_vocab_size", 0) > 1:
            given["token_type_ids"] = batch.token_type_ids
        if loaded.config.is_encoder_decoder and loaded.task not in (CLASSIFIER, READER, TAGGER):
            # Without a text to write there is no pass at all.
            given |= {name: value for name, value in batch.inputs(loaded).items() if "decoder" in name}
        theirs += case.outputs(batch, given)
    if loaded.task == CLASSIFIER:
        ours = list(torch.from_numpy(predict(loaded, encoded)).to(loaded.device))
        return compared(case, ours, theirs, "`predictions`, with what they leave out of the last layer")
    return compared(case, case.alone, theirs, "each example")


def batched(case: Case) -> Measured:
    """The family's own padding, more of it than is needed."""
    return compared(case, case.batched, case.alone, f"{len(case.encoded)} examples together")


def padded(case: Case, side: Literal["left", "right"]) -> Measured:
    """All examples in one batch, padded on one side."""
    family = case.loaded.family
    if side not in family.padding_sides and side != family.padding_side:
        raise NotApplicable(f"Batches of this family are padded on the {family.padding_side} only.")
    batch = case.batch(range(len(case.encoded)), side, extra=5)
    return compared(case, case.outputs(batch), case.alone, f"padding on the {side}")


def word_vectors_replaced(case: Case) -> Measured:
    """The outputs that are explained, with word vectors put in by hand."""
    loaded, items = case.loaded, case.explained()
    batch = case.batch([item.example for item in items], extra=2)
    vectors, embedding = word_vectors(loaded, batch), loaded.family.word_embedding(loaded.model)

    def outputs(replaced: Tensor | None) -> list[Tensor]:
        with torch.inference_mode(), loaded.family.pooled_only(loaded.model):
            if replaced is None:
                return [explained(loaded, batch, loaded.model(**batch.inputs(loaded)), items)]
            with output_replaced(embedding, replaced):
                return [explained(loaded, batch, loaded.model(**batch.inputs(loaded)), items)]

    whole = outputs(None)
    nothing = outputs(torch.zeros_like(vectors))
    if deviation(nothing, whole) <= case.tolerance:
        raise XlwhError(
            "zero vectors in place of all word vectors change nothing: the model does not read them there."
        )
    if loaded.task == CLASSIFIER:
        stored = [torch.stack([case.alone[item.example][item.target] for item in items])]
        return compared(case, outputs(vectors), stored, "the same vectors")
    return compared(case, outputs(vectors), whole, "the same vectors")


def completeness(case: Case) -> Measured:
    """The worst of two examples, by `lig`; where that finds no baseline, from the one that other methods begin at."""
    loaded, items = case.loaded, case.explained()
    most = {"tolerance": COMPLETENESS_TOLERANCE / 2, "max_rows": LIG_ROWS}
    try:
        first_regular(loaded, PREFERRED_BY_LIG)
    except ModelError as error:
        parameters = IntegratedGradients(**most)
        made = integrated_gradients(loaded, case.encoded, items, parameters, BATCH_TOKENS)
        measured = _completeness(case, made)
        if measured.passed:
            raise OnlyError("lig", str(error)) from None
        return measured
    return _completeness(case, lig(loaded, case.encoded, items, Lig(**most), BATCH_TOKENS))


def _completeness(case: Case, made: Iterable[tuple[int, Attribution]]) -> Measured:
    errors, sums = [], []
    for index, attribution in made:
        f_input, f_baseline, delta = attribution.f_input, attribution.f_baseline, attribution.delta
        if f_input is None or f_baseline is None or delta is None:
            raise XlwhError("integrated gradients came without the outputs at both ends of their path.")
        change = f_input - f_baseline
        errors.append(abs(delta) / max(abs(change), abs(f_input) / 20, 1e-6))
        sums.append(f"example {index}: {float(attribution.values.sum()):.4g} of {change:.4g}")
    tolerance = max(COMPLETENESS_TOLERANCE, 2 * case.tolerance)
    return Measured(
        largest(errors),
        tolerance,
        f"Sum of the attributions of the change of the output: {'; '.join(sorted(sums))}.",
    )


def attention_weights(case: Case) -> Measured:
    """Sums over the keys, what falls on padding, and the outputs under eager attention."""
    loaded, batch = case.loaded, case.together
    with torch.inference_mode():
        attended = attentions(loaded, batch.inputs(loaded))
    real = batch.attention_mask.bool()
    off = []
    for site, weights in attended.weights.items():
        kind = loaded.family.attention_sites(loaded.model)[site].kind
        # Of a decoder beside an encoder the queries are of another text.
        own = not loaded.config.is_encoder_decoder or kind == "encoder"
        queries = weights.float().transpose(1, 2)
        chosen = queries[real] if own else queries.flatten(0, 1)
        off.append(float((chosen.sum(-1) - 1).abs().max()))
        if own or kind == "cross":
            outside = (queries * ~real[:, None, None, :]).sum(-1)
            off.append(float((outside[real] if own else outside).abs().max()))
    if loaded.task in (CLASSIFIER, TAGGER, READER):
        off.append(deviation(case.rows(attended.output, batch), case.batched))
    return Measured(
        largest(off), case.tolerance, f"{len(attended.weights)} attention blocks of {len(real)} examples."
    )


def read_position(case: Case) -> Measured:
    """The gradient to the last hidden state, and the outputs when all other positions are overwritten."""
    loaded = case.loaded
    if loaded.task != CLASSIFIER:
        raise NotApplicable("Its outputs are of single tokens, whose own attention is taken.")
    inputs = case.together.inputs(loaded)
    read = read_positions(loaded, inputs)
    starts = case.together.attention_mask.argmax(dim=1)
    for row in range(len(case.encoded)):
        (alone,) = read_positions(loaded, case.batch([row]).inputs(loaded)).tolist()
        moved = int(read[row] - starts[row])
        if alone != moved:
            raise XlwhError(f"alone the head reads position {alone}, in a batch {moved}.")

    def overwrite(_: Any, __: Any, output: Any) -> Any:
        state = output[0] if isinstance(output, tuple) else output
        columns = torch.arange(state.shape[1], device=state.device)
        changed = torch.where((columns == read[:, None])[..., None], state, state.roll(1, dims=1) * 3 + 1)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    last = loaded.family.hidden_sites(loaded.model)[-1]
    with on_call(loaded.model, last.module, last.call, "output", overwrite):
        kept = case.outputs(case.together)
    return compared(case, kept, case.batched, f"positions {read.tolist()} of the batch alone")


def p_full(case: Case) -> Measured:
    """Three ways to perturb nothing: no change, tokens kept by replacement, entries of the vectors all kept."""
    loaded, encoded = case.loaded, case.encoded
    if loaded.task != CLASSIFIER:
        raise NotApplicable("Only classifications are perturbed.")
    stored = torch.from_numpy(predict(loaded, encoded)).double().softmax(-1)
    targets = stored.argmax(dim=-1).numpy()
    expected = stored.max(dim=-1).values.numpy()
    same, width = repeated(encoded, range(len(encoded))), loaded.family.vector_size(loaded.model)

    def everything(_: Any, batch: Batch) -> torch.Tensor:
        real: torch.Tensor = batch.attention_mask.bool()[..., None].expand(-1, -1, width)
        return real

    ways = {
        "no change": probabilities(loaded, same, targets, BATCH_TOKENS),
        "all tokens kept": probabilities(loaded, same, targets, BATCH_TOKENS, unperturbed=encoded),
        "all entries kept": probabilities(loaded, same, targets, BATCH_TOKENS, everything),
    }
    off = {way: float(np.abs(found - expected).max()) for way, found in ways.items()}
    worst = largest(off.values())
    tolerance = PROBABILITY_TOLERANCES[loaded.model.dtype]
    changes = "; ".join(f"{way}: {change:.2g}" for way, change in off.items())
    return Measured(worst, tolerance, f"Largest change of a probability: {changes}.")


def own_hidden_states(case: Case) -> Measured:
    """All layers of a batch against `output_hidden_states`, and against each example alone."""
    loaded, batch = case.loaded, case.together
    inputs = batch.inputs(loaded)
    with torch.inference_mode():
        ours = hidden_states(loaded, inputs)
        output = loaded.model(**inputs, output_hidden_states=True)
    theirs = {}
    for (stack, _), count in zip(places(loaded.model, [0]), _depths(case), strict=True):
        named = getattr(output, f"{stack}_hidden_states", None)
        states = output.hidden_states if named is None else named
        if len(states) != count:
            raise XlwhError(
                f"the model returns {len(states)} hidden states of its {stack}, {count} are known."
            )
        theirs.update({(stack, layer): state for layer, state in enumerate(states)})
    off: dict[str, float] = {}
    real = batch.attention_mask.bool()
    for place, state in ours.items():
        # A decoder beside an encoder has tokens of another text, or of the same moved by one.
        chosen = real if state.shape[:2] == real.shape else torch.ones(state.shape[:2], dtype=torch.bool)
        off[f"{place[0]} {place[1]}"] = deviation([state[chosen]], [theirs[place][chosen]])
    first = places(loaded.model, [-1])[0]
    for row in range(len(case.encoded)):
        alone = case.batch([row])
        with torch.inference_mode():
            state = hidden_states(loaded, alone.inputs(loaded), [first[1]], [first[0]])[first][0]
        name = f"{first[0]} {first[1]} of example {row} alone"
        off[name] = deviation([ours[first][row][real[row]]], [state])
    worst = max(off, key=lambda name: off[name])
    return Measured(largest(off.values()), case.tolerance, f"{len(ours)} hidden states, the worst {worst}.")


def _depths(case: Case) -> list[int]:
    found = [stack for stack, _ in places(case.loaded.model)]
    return [found.count(stack) for stack in dict.fromkeys(found)]


def gates_closed(case: Case) -> Measured:
    """Half of the heads of every attention block at once, the same ones in all examples."""
    loaded, batch = case.loaded, case.together
    model, inputs = loaded.model, batch.inputs(loaded)
    closed = _half(case)
    gates = open_gates(model)
    gates[0][closed] = 0
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    zeroed = {}
    for site, heads in zip(loaded.family.attention_sites(model), closed, strict=True):
        zeroed[names[id(site.output.weight)]] = site.without(
            site.output.weight, heads.nonzero()[:, 0].tolist()
        )
    bare = {} if loaded.task in (CLASSIFIER, TAGGER, READER) else {"output_hidden_states": True}
    with torch.inference_mode():
        with gated(model, open_gates(model)):
            opened = case.rows(model(**inputs, **bare), batch)
        with gated(model, gates):
            ours = case.rows(model(**inputs, **bare), batch)
        theirs = case.rows(torch.func.functional_call(model, zeroed, kwargs={**inputs, **bare}), batch)
    if deviation(theirs, case.batched) <= case.tolerance:
        raise XlwhError("half of the heads make no difference: these are not the projections of the heads.")
    off = largest([deviation(ours, theirs), deviation(opened, case.batched)])
    return Measured(off, case.tolerance, f"{int(closed.sum())} of {closed.numel()} heads closed.")


def head_engine(case: Case) -> Measured:
    """The first state of a walk over coalitions, and one after a move that closes half of the heads."""
    loaded, batch = case.loaded, case.together
    if loaded.task not in (CLASSIFIER, TAGGER):
        raise NotApplicable("Heads are valued in classifiers and taggers.")
    count = len(batch.rows)
    order = torch.arange(count, device=loaded.device)
    stack = stack_of(loaded, loaded.model.dtype)
    gates = (~_half(case)).to(loaded.model.dtype).expand(count, -1, -1)
    real = batch.attention_mask.bool()

    def rows(logits: Tensor) -> list[Tensor]:
        per_token = logits.dim() == 3
        return [row[mask] if per_token else row for row, mask in zip(logits.float(), real, strict=True)]

    with torch.inference_mode():
        walk = stack.rows(batch, order)
        first = rows(walk.logits)
        moved = rows(walk.move(order, [count] * stack.num_layers, Gates(gates, None)))
        with gated(loaded.model, gates):
            whole = case.rows(loaded.model(**batch.inputs(loaded)), batch)
    off = largest([deviation(first, case.batched), deviation(moved, whole)])
    return Measured(
        off, case.tolerance, f"{type(stack).__name__}: {stack.num_layers} x {stack.num_heads} heads."
    )


CHECKS: dict[str, Callable[[Case], Measured]] = {
    "token_ids": token_ids,
    "own_forward": own_forward,
    "batched": batched,
    "padded_left": lambda case: padded(case, "left"),
    "padded_right": lambda case: padded(case, "right"),
    "word_vectors": word_vectors_replaced,
    "completeness": completeness,
    "attention_weights": attention_weights,
    "read_position": read_position,
    "p_full": p_full,
    "hidden_states": own_hidden_states,
    "gates": gates_closed,
    "head_engine": head_engine,
}
"""How each of `ITEMS` is tried."""


def self_test(loaded: LoadedModel, examples: pl.DataFrame) -> tuple[Result, ...]:
    """Try every item on a model with some examples (columns of the `examples` table, all with or all without a pair).

    An item that raises has failed, and what it raised is its detail; none stops another.
    """
    case = Case(loaded, examples)
    return tuple(_tried(item, case) for item in ITEMS)


def _tried(item: Item, case: Case) -> Result:
    try:
        found = CHECKS[item.name](case)
    except NotApplicable as reason:
        return Result(item.name, item.capability, "not_applicable", None, None, str(reason))
    except OnlyError as error:
        return Result(item.name, error.capability, "failed", None, None, " ".join(str(error).split()))
    except Exception as error:  # whatever another layout raises is what there is to know
        message = str(error) if isinstance(error, XlwhError) else f"{type(error).__name__}: {error}"
        return Result(item.name, item.capability, "failed", None, None, " ".join(message.split()))
    finite = math.isfinite(found.deviation)
    return Result(
        item.name,
        item.capability,
        "passed" if found.passed else "failed",
        found.deviation if finite else None,
        found.tolerance,
        found.detail if finite else f"Numbers that are not finite. {found.detail}",
    )


def _half(case: Case) -> Tensor:
    """Half of the heads, drawn once and for all: `[sites, heads]`, True where a gate is closed."""
    sites = case.loaded.family.attention_sites(case.loaded.model)
    draw = (stream("gates").permutation(len(sites) * sites[0].num_heads) % 2 == 0).reshape(len(sites), -1)
    # Blocks that share their weights have the same heads closed: their columns are zeroed for all of them.
    first = {id(site.output): index for index, site in reversed(list(enumerate(sites)))}
    same = [first[id(site.output)] for site in sites]
    return torch.from_numpy(draw[same]).to(case.loaded.device)

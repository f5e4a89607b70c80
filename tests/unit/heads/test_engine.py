"""The engine against the model's own gated forward pass, over every family."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from architectures import every_classifier

from xlwh.errors import ModelError
from xlwh.heads import engine as engine_module
from xlwh.heads.engine import Engine, check_precision
from xlwh.heads.players import players_of
from xlwh.heads.stack import stack_of
from xlwh.heads.walks import Gates
from xlwh.models.batches import collate
from xlwh.models.gates import gated
from xlwh.models.tokenize import encode

FAMILIES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "llama", "qwen3")


def walks(players: int, rows: int, steps: int, seed: int = 0) -> np.ndarray:
    """Nested coalitions: each step removes some of who is left."""
    random = np.random.default_rng(seed)
    left = np.ones((rows, players), dtype=bool)
    made = []
    for _ in range(steps):
        left = left & (random.random((rows, players)) > 0.2)
        made.append(left)
    return np.stack(made, axis=1)


def logit(column):
    return lambda logits, rows: logits[:, column]


@pytest.mark.parametrize(
    "model_type", every_classifier((*FAMILIES, "albert", "bloom", "mbart", "modernbert"))
)
def test_walks_equal_the_models_own_gated_passes(game, model_type):
    built = game(model_type)
    engine = built.engine()
    players = engine.players
    examples = np.array([0, 1, 2, 3, 0, 2, 2])
    coalitions = walks(len(players), len(examples), 4)
    steps = np.array([4, 4, 3, 4, 1, 4, 2])
    for column in range(2):
        walked = engine.read(examples, coalitions, logit(column), steps)
        for row, example in enumerate(examples):
            open_gates = torch.ones(players.layers, players.heads)
            expected = built.naive(example, open_gates)[column]
            assert abs(walked.whole[row] - expected) <= 1e-5
            for step in range(4):
                found = walked.values[row, step]
                if step >= steps[row]:
                    assert np.isnan(found)
                    continue
                gates = torch.from_numpy(coalitions[row, step].reshape(players.layers, players.heads))
                assert abs(found - built.naive(example, gates)[column]) <= 1e-5


def test_coalitions_may_grow_again_and_repeat(game):
    built = game("bert")
    engine = built.engine()
    coalitions = walks(8, 3, 3)[:, [2, 2, 0, 1]]
    coalitions[0, 3] = True
    examples = np.array([3, 1, 3])
    walked = engine.read(examples, coalitions, logit(0))
    for row, example in enumerate(examples):
        for step in range(4):
            gates = torch.from_numpy(coalitions[row, step].reshape(2, 4))
            assert abs(walked.values[row, step] - built.naive(example, gates)[0]) <= 1e-5
    assert walked.values[0, 3] == pytest.approx(walked.whole[0], abs=1e-6)


def test_nothing_removed_is_exactly_the_whole_model(game):
    engine = game("roberta").engine()
    walked = engine.read(np.arange(4), np.ones((4, 3, 8), dtype=bool), logit(1))
    assert (walked.values == walked.whole[:, None]).all()


def test_only_layers_from_the_lowest_change_on_are_computed(game):
    """A removal in the last layer runs no attention at all, one in the first runs that of all layers above."""
    built = game("bert")
    engine = built.engine()
    calls: list[int] = []
    attend = engine._stack.attend
    engine._stack.attend = lambda layer, *rest: calls.append(layer) or attend(layer, *rest)
    top, bottom = np.ones((1, 1, 8), dtype=bool), np.ones((1, 1, 8), dtype=bool)
    top[0, 0, 5] = bottom[0, 0, 2] = False
    engine.walk(np.array([0]), top)
    assert calls == [0, 1]
    calls.clear()
    engine.walk(np.array([0]), bottom)
    assert calls == [0, 1, 1]


def test_small_batches_change_nothing(game, monkeypatch):
    built = game("bert")
    coalitions = walks(8, 12, 3)
    examples = np.arange(12) % 4
    large = built.engine().read(examples, coalitions, logit(0)).values
    monkeypatch.setattr(engine_module, "CPU_ROWS", 2)
    small = built.engine().read(examples, coalitions, logit(0)).values
    np.testing.assert_allclose(small, large, atol=1e-5)


def test_scores_are_right_or_wrong_or_the_probability_of_the_gold_class(game):
    built = game("bert")
    coalitions = walks(8, 4, 2)
    examples = np.arange(4)
    right = built.engine().walk(examples, coalitions).values
    probable = built.engine(measure="probability").walk(examples, coalitions).values
    for row in range(4):
        for step in range(2):
            gates = torch.from_numpy(coalitions[row, step].reshape(2, 4))
            logits = built.naive(row, gates)
            gold = built.gold.classes[row]
            assert right[row, step] == float(int(logits.argmax()) == gold)
            assert probable[row, step] == pytest.approx(float(logits.softmax(-1)[gold]), abs=1e-5)
    np.testing.assert_array_equal(built.engine().evaluate(examples, coalitions[:, 1]), right[:, 1])


def test_layers_are_their_heads_and_mlps_keep_their_bias(game):
    built = game("xlm-roberta")
    by_layer = built.engine("layer", "mlp")
    without = np.ones((1, 1, 4), dtype=bool)
    without[0, 0, 1] = False
    found = by_layer.read(np.array([0]), without, logit(0)).values[0, 0]
    gates = torch.ones(2, 4)
    gates[1] = 0
    assert abs(found - built.naive(0, gates)[0]) <= 1e-5

    without = np.ones((1, 1, 4), dtype=bool)
    without[0, 0, 2] = False
    found = by_layer.read(np.array([0]), without, logit(0)).values[0, 0]
    layer = built.loaded.model.roberta.encoder.layer[0]
    hook = layer.output.dense.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 0,))
    expected = built.naive(0, torch.ones(2, 4))[0]
    hook.remove()
    assert abs(found - expected) <= 1e-5
    assert abs(found - built.naive(0, torch.ones(2, 4))[0]) > 1e-4


def test_mlps_of_other_layouts_are_refused(game):
    engine = game("xlm").engine("mlp")
    with pytest.raises(ModelError, match="layout"):
        engine.walk(np.array([0]), np.zeros((1, 1, 2), dtype=bool))


def test_groups_are_refused_where_they_share_a_head_or_name_none():
    players = players_of(("group",), 2, 4, [["0.1", "1.2"], ["0.0"]])
    assert players.head_gates[0].nonzero()[0].tolist() == [0, 1]
    with pytest.raises(ModelError, match="two players"):
        players_of(("head", "group"), 2, 4, [["0.1"]])
    with pytest.raises(ModelError, match=r"no head 2\.0"):
        players_of(("group",), 2, 4, [["2.0"]])


def test_a_game_of_another_shape_is_refused(game):
    built = game("bert")
    with pytest.raises(ModelError, match="3 x 4 heads"):
        Engine(built.loaded, built.encoded, players_of(("head",), 3, 4), built.gold)


def test_half_precision_is_close_and_checked(game):
    built = game("bert")
    players = built.players()
    exact = built.engine(measure="probability")
    coarse = Engine(built.loaded, built.encoded, players, built.gold, "probability", "bfloat16")
    assert built.loaded.model.dtype == torch.float32
    assert check_precision(exact, coarse, np.arange(4)) == 0
    for linear in coarse._stack.blocks:
        linear.norm.weight.fill_(float("inf"))
    with pytest.raises(ModelError, match="half precision"):
        check_precision(exact, coarse, np.arange(4))


TAKEN_APART = {"bert": "Layered", "roberta": "Layered", "xlm-roberta": "Layered", "camembert": "Layered"}
"""Of all others layers are called one by one, but of XLM: it has no module per layer."""


@pytest.mark.parametrize("model_type", every_classifier())
def test_every_architecture_is_resumed_at_the_lowest_change(game, model_type):
    """A change in the last block computes that layer alone, one in the first computes all, each once."""
    built = game(model_type)
    engine = built.engine()
    stack = engine._stack
    expected = TAKEN_APART.get(model_type, "Whole" if model_type == "xlm" else "Prefix")
    assert type(stack).__name__ == expected
    if expected != "Prefix":
        return
    # Layers that are left out are called too, but compute nothing.
    layers = [stack.sites[block.sites[0]].output for block in stack.blocks]
    calls: list[int] = []
    numbers = {id(module): number for number, module in reversed(list(enumerate(layers)))}
    for module in {id(module): module for module in layers}.values():
        module.register_forward_pre_hook(lambda module, _: calls.append(numbers[id(module)]))
    coalitions = np.ones((1, 2, len(engine.players)), dtype=bool)
    coalitions[0, 0, -1] = False
    coalitions[0, 1, 0] = False
    engine.read(np.array([2]), coalitions[:, :1], logit(0))
    whole, moved = calls[: len(layers)], calls[len(layers) :]
    assert moved == whole[-1:]
    calls.clear()
    engine.read(np.array([2]), coalitions[:, 1:], logit(0))
    assert calls[len(layers) :] == whole


def test_what_lies_between_layers_is_no_prefix(game):
    """Deberta's convolution behind the first layer: full passes, and their numbers."""
    built = game("deberta-v2", conv_kernel_size=3, conv_act="gelu")
    engine = built.engine()
    assert type(engine._stack).__name__ == "Whole"


def test_taggers_on_the_encoder_of_an_encoder_decoder_are_resumed_too(checkpoint, zoo_of, frame):
    """Its decoder is left out, and with it the encoder's output as anything else than the last state."""
    loaded = zoo_of(m={"path": str(checkpoint("t5", "ForTokenClassification"))}).load("m")
    encoded = encode(loaded, frame([("The cat sits on the mat.", None), ("cat", None)]))
    stack = stack_of(loaded, torch.float32)
    assert type(stack).__name__ == "Prefix"
    batch = collate(loaded, encoded, np.arange(2), 24)
    gates = torch.ones(3, stack.num_layers, stack.num_heads)
    gates[0, 1, 2] = gates[1, 0, 1] = gates[2, 1, 0] = 0
    with torch.inference_mode():
        rows = stack.rows(batch, torch.tensor([0, 1, 1]))
        order, sites = torch.tensor([1, 0, 2]), gates[torch.tensor([1, 0, 2])]
        found = rows.move(order, [1, 3], Gates(sites, None))
        for place, row in enumerate(order.tolist()):
            alone = collate(loaded, encoded, np.array([(0, 1, 1)[row]]), 24)
            with gated(loaded.model, gates[row : row + 1]):
                expected = loaded.model(**alone.inputs(loaded)).logits[0]
            torch.testing.assert_close(found[place], expected, atol=1e-5, rtol=1e-5)

"""What the project computes of the oracles' inputs, held to what the released scripts computed.

One `Oracle` per file in `tests/oracles/cases`: inputs and outputs of somebody else's program, with repository, commit and
call, and no line of its code. Cases that differ on purpose say why.
"""

from __future__ import annotations

from released.attributions import captum, released_attributions, released_faithfulness
from released.concepts import calign, colap, fast_align
from released.consistency import ccta
from released.faithfulness import eraser, rationales
from released.harness import Oracle, macro
from released.heads import heads
from released.tasks import answers, classification, tags, translations

ORACLES: tuple[Oracle, ...] = (
    Oracle(
        "squad",
        "exact match, F1",
        "`answer_scores`, `paper`",
        answers("paper"),
        1e-12,
        "tasks",
        "The copy of SQuAD v1.1's script that XTREME ships.",
    ),
    Oracle(
        "mlqa",
        "exact match, F1, many languages",
        "`answer_scores`, `strict`",
        answers("strict"),
        1e-12,
        "tasks",
    ),
    Oracle(
        "classification",
        "accuracy, macro-F1",
        "`task_scores`",
        classification,
        1e-12,
        "tasks",
    ),
    Oracle("seqeval", "span F1, token accuracy", "`task_scores`", tags, 1e-12, "tasks"),
    Oracle("sacrebleu", "BLEU, chrF", "`task_scores` · 100", translations, 1e-9, "tasks"),
    Oracle(
        "wilson",
        "interval of a share",
        "`wilson_low`, `wilson_high`",
        macro("wilson_low($successes, $n), wilson_high($successes, $n)", ("successes", "n"), ("low", "high")),
        1e-9,
        "tasks",
    ),
    Oracle(
        "student",
        "p of a t statistic",
        "`student_p`",
        macro("student_p($t, $df)", ("t", "df"), ("p",)),
        1e-6,
        "faithfulness",
    ),
    Oracle(
        "ccta",
        "consistency of two texts",
        "`xlwh.consistency.transport.consistency`",
        ccta,
        1e-9,
        "consistency",
        "No released code of the CCTA paper could be found. Held to an independent derivation instead: the paper's linear "
        "program, solved by SciPy's HiGHS.",
    ),
    Oracle(
        "captum",
        "layer integrated gradients, 50 fixed steps",
        '`lig`, `quadrature = "fixed"`',
        captum,
        2e-4,
        "consistency",
    ),
    Oracle(
        "released_attributions",
        "attention and gradient attributions of arXiv 2403.12809",
        "`attention`, `released_*`",
        released_attributions,
        1e-4,
        "faithfulness",
        "At batch size 1: with more, the released gradients add up over the whole batch.",
    ),
    Oracle(
        "released_faithfulness",
        "sufficiency, comprehensiveness, hard and soft, of arXiv 2403.12809",
        "`perturbations` (zero_id, bernoulli_reversed), `normalized_faithfulness`",
        released_faithfulness,
        1e-5,
        "faithfulness",
        "1e-4 is taken from S0 once, where the released loop takes it again at every ratio and method. The released code "
        "counts positions from 0 in RoBERTa too; here a checkpoint has its own.",
    ),
    Oracle(
        "eraser_faithfulness",
        "sufficiency, comprehensiveness (AOPC)",
        "`faithfulness_examples`, `eraser`",
        eraser,
        1e-9,
        "faithfulness",
        "ERASER's bins are .01, .05, .1, .2, .5; ours are the study's ratios.",
    ),
    Oracle(
        "eraser_rationales",
        "token F1, AUPRC, average precision, IOU F1",
        "`plausibility`",
        rationales,
        1e-6,
        "faithfulness",
        "Neighbouring rationale words are one span here, as only labels of words are stored.",
    ),
    Oracle(
        "shapley_heads",
        "interval of a head's value",
        "`head_shapley`, `pruning_decisions`, `published_code`",
        heads,
        1e-8,
        "heads",
        "The released loop counts removals that leave more than half of the heads, ours (`truncation`) at least half.",
    ),
    Oracle(
        "calign",
        "CALIGN: which concepts are aligned",
        "`calign_matches`, `published_code`",
        calign,
        0.0,
        "concepts",
        "The released script prints the number of source concepts as that of aligned ones; its list is compared.",
    ),
    Oracle("colap", "COLAP: how many concepts overlap", "`colap`, `published_code`", colap, 0.0, "concepts"),
    Oracle(
        "fast_align",
        "word alignment, link by link, and the tensions",
        '`align`, `model = "diagonal"`, `tension_update = "released"`',
        fast_align,
        1e-4,
        "concepts",
        "With a fixed tension the diagonal model is the same; with a fitted one it is not by default, see the page.",
    ),
)
"""Every formula that is held to somebody else's program."""

"""inseq's input x gradient of every sub-token of given translations.

`python inseq_outputs.py INPUTS written RESULT`, as `measure.Run` reads it.
"""

from __future__ import annotations

import json

from measure import Run

run = Run()
with run.stage("import"):
    import inseq
    import numpy as np

with run.stage("load"):
    captions = json.loads((run.inputs / "captions.json").read_text())
    model = inseq.load_model(str(run.inputs / "t5"), "input_x_gradient")

with run.stage("work"):
    made = model.attribute(
        [caption["text"] for caption in captions],
        generated_texts=[caption["translation"] for caption in captions],
        attributed_fn="logit",
        batch_size=8,
        show_progress=False,
    )

# [source, written, width], with the end tokens, padding cut off; the written ones begin with the start token.
parts = []
for caption, output in zip(captions, made.sequence_attributions, strict=True):
    scores = output.source_attributions.sum(-1).numpy()
    rows, columns = len(caption["source_ids"]), len(caption["written_ids"])
    parts.append(scores[:rows, -columns:].T.ravel())
np.save(run.result.with_suffix(".npy"), np.concatenate(parts))
run.report("inseq")

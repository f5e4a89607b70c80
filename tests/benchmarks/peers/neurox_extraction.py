"""NeuroX's extraction of all layers' word vectors (the last sub-token of each word) into JSON.

`python neurox_extraction.py INPUTS extraction RESULT`, as `measure.Run` reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from measure import Run

run = Run()
with run.stage("import"):
    import numpy as np
    from neurox.data.extraction import transformers_extractor

with run.stage("load"):
    settings = json.loads((run.inputs / "settings.json").read_text())
    loaded = transformers_extractor.get_model_and_tokenizer(settings["model"])
    # The extraction loads the model by itself; here that is a stage of its own.
    transformers_extractor.get_model_and_tokenizer = lambda *_, **__: loaded

written = run.result.with_suffix(".json")
# It prints every sentence; that goes nowhere, so that no terminal is measured.
with run.stage("work"), Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
    transformers_extractor.extract_representations(
        settings["model"],
        str(run.inputs / "sentences.txt"),
        str(written),
        aggregation="last",
        output_type="json",
    )

vectors = []
with written.open(encoding="utf-8") as lines:
    for line in lines:
        vectors += [[layer["values"] for layer in word["layers"]] for word in json.loads(line)["features"]]
np.save(run.result.with_suffix(".npy"), np.array(vectors, dtype=np.float32))
run.report("neurox", note=f"{written.stat().st_size / 1e6:.1f} MB of JSON")

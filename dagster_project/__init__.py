"""The warehouse as Dagster assets: partitions, dependencies, checks and metadata around the steps of `xlwh`.

Start at `definitions.py`. Belongs here: whatever talks to Dagster. Does not belong here: how anything is computed
(`xlwh.steps` and what those call), so every asset's body only runs steps and reports what became of them.
"""

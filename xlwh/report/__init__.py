"""Pictures of what the warehouse holds: figures, the static report, export for papers, and the explorer.

A figure is a pure function from the rows of some views and a selection to a drawing with its table. They are listed
once, in `figures`, and everything that shows one (report, explorer, export, Dagster) takes it from there.
Nothing here computes a metric: that is what the views are for.
"""

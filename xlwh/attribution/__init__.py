"""Token attributions: signed scores per sub-token, and how well each one converged.

Here belong methods (one module and one line in `methods.METHODS` each), the numerics under them, what is explained of
each task (`targets`) and the rows that are made of it. Which datasets and methods there are, and where rows are stored,
is decided by `xlwh.steps.attribution`; comparing attributions between languages belongs to `xlwh.consistency`.
"""

"""Token attributions: signed scores per sub-token, and how well each one converged.

Here belong methods (one module and one line in `methods.METHODS` each) and the numerics under them. What is
attributed, for which target, and where it is stored is decided by `xlwh.steps.attribution`; comparing
attributions between languages belongs to `xlwh.consistency`.
"""

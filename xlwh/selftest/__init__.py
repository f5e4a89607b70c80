"""Does a checkpoint do here what it does by itself? Asked once per weights, on a few examples.

Here belong the items of the self-test, what each of them guards, and the few texts that are always there. It stands
above the capabilities, which it tries out. Where its results are kept is `xlwh.selftest.stored`. Importing
this package imports no torch.
"""

from xlwh.selftest.items import (
    CAPABILITIES,
    ITEMS,
    VERSION,
    Capability,
    Item,
    Result,
    capability_of,
    refusal,
    self_tested,
    summary,
)

__all__ = [
    "CAPABILITIES",
    "ITEMS",
    "VERSION",
    "Capability",
    "Item",
    "Result",
    "capability_of",
    "refusal",
    "self_tested",
    "summary",
]

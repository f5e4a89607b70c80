"""xlwh: an analysis warehouse for the interpretability of multilingual language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xlwh.store import Warehouse
    from xlwh.store.opening import connect

__version__ = "0.1.0"

__all__ = ["Warehouse", "__version__", "connect"]


def __getattr__(name: str) -> Any:
    # Lazy: `import xlwh` must not cost what DuckDB and Polars cost.
    if name == "Warehouse":
        from xlwh.store import Warehouse

        return Warehouse
    if name == "connect":
        from xlwh.store.opening import connect

        return connect
    raise AttributeError(f"module 'xlwh' has no attribute {name!r}")

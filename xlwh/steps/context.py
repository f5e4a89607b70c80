"""What steps run in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from xlwh.models import Zoo
from xlwh.selftest.stored import SelfTests
from xlwh.steps.base import Progress, no_progress
from xlwh.steps.planning import Planner
from xlwh.store import Warehouse
from xlwh.study import Study


@dataclass
class Context:
    """The study, the warehouse it fills, the loaded models, and how to report progress."""

    study: Study
    warehouse: Warehouse
    zoo: Zoo
    force: bool = False
    progress: Progress = no_progress
    waits: bool = True
    """Whether what other processes are making is waited for."""

    @property
    def self_tests(self) -> SelfTests:
        """What the models were found to do as they should."""
        return SelfTests(self.study, self.warehouse)

    @cached_property
    def planner(self) -> Planner:
        """What there is to do."""
        return Planner(self.study, self.warehouse, self.zoo)

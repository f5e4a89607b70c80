"""Models of a study that one of several tasks makes: prints one a line. Usage: python models.py STUDY TASK TASKS.

What is trained from one another, or has one another's weights, goes to the same task, so none is trained twice.
"""

import sys

from xlwh.study import Study, load


def families(study: Study) -> list[list[str]]:
    """Models of the study, those that are made from one another together; the largest families first."""
    found: list[set[str]] = []
    for name, model in study.models.items():
        family = {name} | ({model.base} if model.base is not None else set())
        joined = [other for other in found if other & family]
        found = [other for other in found if other not in joined] + [family.union(*joined)]
    order = list(study.models)
    return sorted((sorted(family, key=order.index) for family in found), key=len, reverse=True)


def dealt(study: Study, tasks: int) -> list[list[str]]:
    """A list of models for each task; each family goes to the task that has the fewest models until then."""
    hands: list[list[str]] = [[] for _ in range(tasks)]
    for family in families(study):
        min(hands, key=len).extend(family)
    return hands


if __name__ == "__main__":
    _, path, task, tasks = sys.argv
    print(*dealt(load(path), int(tasks))[int(task)], sep="\n")

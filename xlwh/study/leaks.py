"""Whether a model is evaluated on what it was trained on."""

from __future__ import annotations

from collections.abc import Iterator

from xlwh.errors import StudyError
from xlwh.study import Study


def numbered_alike(study: Study, model: str, dataset: str, language: str) -> Iterator[tuple[str, ...]]:
    """Languages of the rest of a corpus (`skip_examples`) whose rows must be numbered alike for it to be the rest.

    The rest is told by ids: of what a model, or one that it is made from, was trained on in another language, it is the
    rest only where both languages give the same rows the same ids. StudyError that says which setting is wrong.
    """
    settings = study.datasets[dataset]
    trained: str | None = model if settings.skip_examples is not None else None
    while trained is not None and (recipe := study.models[trained].finetune) is not None:
        part = study.datasets[recipe.dataset]
        same = all(
            getattr(part, name) == getattr(settings, name) for name in ("reader", "path", "hub", "split")
        )
        if same and recipe.dataset != dataset:
            if part.max_examples is None or part.max_examples > (settings.skip_examples or 0):
                raise StudyError(
                    f"`datasets.{dataset}.skip_examples` is {settings.skip_examples}, but `{trained}` is trained on "
                    f"`{recipe.dataset}` of the same corpus, whose `max_examples` is {part.max_examples or 'not set'}: it would be "
                    f"evaluated on what it was trained on. Set `datasets.{recipe.dataset}.max_examples` to at most that number."
                )
            others = [other for other in recipe.languages if other != language]
            unknown = [other for other in others if other not in study.dataset_languages(dataset)]
            if unknown and settings.aligned == "checked":
                raise StudyError(
                    f"`{trained}` is trained on {', '.join(unknown)} of `{recipe.dataset}` and evaluated on the rest of the same "
                    f"corpus in `{language}`. To check that its rows are numbered alike, add {', '.join(unknown)} to "
                    f'`datasets.{dataset}.languages`, or set `datasets.{dataset}.aligned = "unchecked"`.'
                )
            yield (*others, language)
        trained = recipe.base

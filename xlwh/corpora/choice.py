"""Which rows of a table are read: the filter `where`, and the refusal of mixtures that nobody chose from.

A column that is called `language`, `split` or the like says whose rows a file holds, and so does one, whatever it is
called, whose every value is the name of a split, or a language code among which is the one asked for. Where it shows
another language or split than the one asked for, or several, and `where` does not name the column, the file is refused:
its rows would be read as what they are not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from xlwh.corpora.files import Document, filled, find, require_own_file, split_named
from xlwh.corpora.records import class_names, lookup
from xlwh.corpora.request import Request, TableOptions, Value
from xlwh.errors import CorpusError

OURS, ELSEWHERE = "", "elsewhere"
_OPEN: Counter[str] = Counter()
_LANGUAGE = frozenset(
    [
        "language",
        "lang",
        "locale",
        "langid",
        "langcode",
        "languagecode",
        "languageid",
        "localecode",
        "isocode",
        "iso",
        "languages",
        "languagename",
        "langname",
        "lan",
        "lg",
    ]
)
_SPLIT = frozenset(["split", "partition", "set", "subset", "fold", "datasplit", "datasetsplit", "splitname"])
_LETTERS = re.compile(r"[^a-z]")
_CODE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]{2,4}){0,2}")
_LONGER: Mapping[str, str] = dict(
    re.findall(
        r"(\w+):(\w+)",
        "afr:af amh:am ara:ar arb:ar asm:as ben:bn bul:bg cat:ca ces:cs cze:cs cym:cy dan:da deu:de ger:de ell:el eng:en "
        "est:et eus:eu fas:fa pes:fa fin:fi fra:fr fre:fr gle:ga glg:gl guj:gu hau:ha heb:he hin:hi hrv:hr hun:hu ibo:ig "
        "ind:id isl:is ita:it jav:jv jpn:ja kat:ka kaz:kk kor:ko lit:lt lvs:lv lav:lv mal:ml mar:mr mlt:mt mya:my nld:nl "
        "nob:nb ory:or pan:pa pol:pl por:pt quy:qu ron:ro rus:ru slk:sk slv:sl spa:es srp:sr swe:sv swa:sw swh:sw tam:ta "
        "tel:te tgl:tl tha:th tur:tr ukr:uk urd:ur vie:vi xho:xh yor:yo cmn:zh zho:zh chi:zh zul:zu",
    )
)
"""Codes of three letters, as in FLORES and Tatoeba, and those of two letters that mean the same."""
_SHOWN = 20


class Choice:
    """Judges the rows of one reading, one by one; `finish` refuses what the values seen do not allow."""

    def __init__(self, request: Request, options: TableOptions, used: Iterable[str | None] = ()) -> None:
        """`used` are the columns that the reader takes texts and labels from: they say nothing of the rows."""
        self._request = request
        self.by_language = chooses_language(options)
        """Whether the rows of other languages are left out here."""
        self._wanted = {
            column: {_text(self._filled(options, value)) for value in _listed(values)}
            for column, values in options.where.items()
        }
        self._language = options.names.get(request.language, request.language)
        self._split = options.splits.get(request.split, request.split)
        self._skip = {*self._wanted, *(name for name in used if name)}
        self._seen: dict[str, Counter[str]] = {column: Counter() for column in self._wanted}
        self._shown: dict[str, Counter[str]] = {}
        self._telling: dict[str, Counter[str] | None] = {}
        """Columns of other names, as long as all their values are splits or codes; None once one is not."""
        self._watched: dict[str, bool] = {}
        self.ours = self._others = 0
        self._unplaced = ""
        self._names: dict[str, None] = {}

    def _filled(self, options: TableOptions, value: Value) -> Value:
        return filled(self._request, options, value) if isinstance(value, str) else value

    @property
    def set(self) -> bool:
        """Whether the study chooses at all."""
        return bool(self._wanted)

    def require(self, document: Document, names: Sequence[str]) -> None:
        """Refuse columns of `where` that a table does not have."""
        for column in self._wanted:
            if column not in names and column.split(".")[0] not in names:
                raise CorpusError(
                    f"{document.path}: no column `{column}`, which `datasets.{self._request.key}.options.where` names; "
                    f"there are: {', '.join(names[:_SHOWN])}."
                )

    def row(self, values: Mapping[str, object], features: Mapping[str, object] | None = None) -> str:
        """Whether a record is ours (empty), `elsewhere`, or why it cannot be said."""
        for name in values:
            if name not in self._names and len(self._names) < 1000:
                self._names[name] = None
        verdict = OURS
        for column, wanted in self._wanted.items():
            value = _value(values, column, features)
            if value is None:
                self._unplaced = self._unplaced or f"no field `{column}`"
                return f"no field `{column}`, which `where` names"
            self._count(self._seen[column], value)
            if value not in wanted:
                verdict = ELSEWHERE
        if verdict == ELSEWHERE:
            self._others += 1
            return verdict
        self.ours += 1
        for name, held in values.items():
            # Also one level down, as in `meta.language`.
            for path in [f"{name}.{key}" for key in held] if isinstance(held, Mapping) else [name]:
                if path in self._skip or self._telling.get(path, _OPEN) is None:
                    continue
                value = _value(values, path, features)
                if self._watches(path):
                    if value:
                        self._count(self._shown.setdefault(path, Counter()), value)
                else:
                    self._listen(path, value)
        return OURS

    def _listen(self, path: str, value: str | None) -> None:
        if value and (split_named(value) or _CODE.fullmatch(value)):
            counter = self._telling.setdefault(path, Counter())
            assert counter is not None
            self._count(counter, value)
        elif value or value is None:
            self._telling[path] = None

    def unplaced(self, reason: str) -> None:
        """A record that cannot be read, so that nobody knows whether it is ours."""
        self._unplaced = self._unplaced or reason

    @staticmethod
    def _count(counter: Counter[str], value: str) -> None:
        if value in counter or len(counter) < 1000:
            counter[value] += 1

    def _watches(self, name: str) -> bool:
        found = self._watched.get(name)
        if found is None:
            plain = _plain(name)
            found = self._watched[name] = plain in _LANGUAGE or plain in _SPLIT
        return found

    def finish(self, documents: Sequence[Document], numbered: bool) -> None:
        """Refuse what was seen in all rows; `numbered`: rows are joined by their number among those chosen."""
        where = ", ".join(document.name for document in documents[:3])
        key = f"datasets.{self._request.key}.options.where"
        if self.set and not self.ours and self._others:
            shown = "; ".join(
                f"`{column}` is never {' or '.join(sorted(map(repr, self._wanted[column])))} but {_values(counter)}"
                for column, counter in self._seen.items()
                if not self._wanted[column] & set(counter)
            )
            together = "no row has all of the values that it names"
            raise CorpusError(f"{where}: `{key}` matches none of {self._others} rows: {shown or together}.")
        if self.set and not self.ours and self._unplaced.startswith("no field"):
            names = ", ".join(list(self._names)[:_SHOWN])
            raise CorpusError(f"{where}: `{key}`: {self._unplaced} in any record; there are: {names}.")
        if self.set and numbered and self._unplaced and self.by_language:
            raise CorpusError(
                f"{where}: a record cannot be read ({self._unplaced}), so its language is unknown, and the rows "
                f"after it cannot be numbered alike in all languages. Repair it, or join by an id: "
                f"`datasets.{self._request.key}.options.id`."
            )
        for name, counter in self._shown.items():
            self._refuse_mixture(where, name, counter, _plain(name) in _LANGUAGE)
        for name, told in self._telling.items():
            if told and all(map(split_named, told)):
                self._refuse_mixture(where, name, told, of_language=False)
            elif told and len(told) > 1 and any(map(self._is_asked, told)):
                self._refuse_mixture(where, name, told, of_language=True)

    def _is_asked(self, value: str) -> bool:
        return _same_language(value, (self._language, self._request.language))

    def _refuse_mixture(self, where: str, name: str, counter: Counter[str], of_language: bool) -> None:
        asked = self._language if of_language else self._split
        if len(counter) == 1:
            (value,) = counter
            if of_language and self._is_asked(value):
                return
            if not of_language and (
                not split_named(value) or split_named(value) == split_named(asked) or value == asked
            ):
                return
        what = "language" if of_language else "split"
        if of_language:
            fitting = [value for value in counter if self._is_asked(value)]
            write = "{language}" if asked in counter or not fitting else fitting[0]
        else:
            fitting = [
                value for value in counter if split_named(value) and split_named(value) == split_named(asked)
            ]
            write = "{split}" if asked in counter or not fitting else fitting[0]
        key, column = f"datasets.{self._request.key}.options.where", _bare(name)
        advice = f'Say which rows are meant: `{key} = {{ {column} = "{write}" }}`, or a list of values.'
        if not fitting and len(counter) > 1:
            advice = f'Name the value that is meant, `{key} = {{ {column} = "..." }}`, or another file.'
        elif not fitting:
            advice = (
                f'Name another file, or, if that is another name of the same {what}, allow it: `{key} = {{ {column} = "{min(counter)}" }}`'
                f"{' (a list of those of all languages, where each has its own file)' * of_language}."
            )
        raise CorpusError(
            f"{where}: read as {what} `{asked}`, but its column `{name}` holds {_values(counter)}. {advice}"
        )


def _plain(name: str) -> str:
    """A column's name without its path and signs, in small letters."""
    return _LETTERS.sub("", name.rsplit(".", 1)[-1].lower())


def column_named(
    request: Request, document: Document, names: Sequence[str], column: str | None
) -> int | None:
    """Place of the column that the option `cluster` names; None where it names none, `CorpusError` where it is not there."""
    if column is not None and column not in names:
        raise CorpusError(
            f"{document.path}: no column `{column}`, which `datasets.{request.key}.options.cluster` names; "
            f"there are: {', '.join(names[:_SHOWN])}."
        )
    return None if column is None else names.index(column)


def chooses_language(options: TableOptions) -> bool:
    """Whether `where` tells the languages of one file apart."""
    return any("{language}" in str(value) for values in options.where.values() for value in _listed(values))


def find_table(request: Request, options: TableOptions, patterns: Sequence[str]) -> Document:
    """The file of the request, as `find`; refused where it may hold other languages and `where` does not choose."""
    document = find(request, options, patterns)
    if not chooses_language(options):
        require_own_file(request, document, table=True)
    return document


def _listed(values: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    return values if isinstance(values, tuple) else (values,)


def _text(value: object) -> str | None:
    """A value as text, as the study writes it; None for one that is no plain value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None


def _value(values: Mapping[str, object], name: str, features: Mapping[str, object] | None) -> str | None:
    value = lookup(values, name)
    classes = class_names((features or {}).get(name))
    if classes and isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes):
        return classes[value]
    return _text(value)


def _same_language(value: str, codes: Sequence[str]) -> bool:
    """Whether a value is one of the codes, perhaps with a region or script, or longer: de, de-DE, deu, deu_Latn."""
    plain = value.lower().replace("_", "-")
    first, dash, rest = plain.partition("-")
    spelled = (plain, _LONGER.get(first, first) + dash + rest)
    return any(
        found == code.lower() or found.startswith(f"{code.lower()}-") for code in codes for found in spelled
    )


def _values(counter: Counter[str]) -> str:
    shown = ", ".join(f"{value[:40]!r} ({count})" for value, count in counter.most_common(_SHOWN))
    return shown + (f" and {len(counter) - _SHOWN} more" if len(counter) > _SHOWN else "")


def _bare(name: str) -> str:
    """A column as a key of TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'

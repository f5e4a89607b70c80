"""The tables of a warehouse as Iceberg tables over the files that it has, for other engines: nothing is copied.

Of each table a folder or an object store gets Iceberg's metadata, laid out as its Hadoop catalogue does: `TABLE/metadata/`
with `v1.metadata.json`, `v2.metadata.json`, … and `version-hint.text`, which names the last one. They name files of the
warehouse by absolute addresses. An export makes a new snapshot of what has changed since the last one. Source: Iceberg's
table specification, version 2; https://iceberg.apache.org/spec.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import polars as pl

from xlwh.errors import StoreError
from xlwh.store.bucket import TakenError
from xlwh.store.contract import schema
from xlwh.store.export_place import Place, base_of, place_of, settings
from xlwh.store.integrity import require_undamaged
from xlwh.store.parquet import decoded
from xlwh.store.reading import content, scan
from xlwh.store.roots import name_of
from xlwh.store.slots import Entry, contract
from xlwh.store.warehouse import Warehouse
from xlwh.tables import TABLES
from xlwh.texts import whole_number

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.types import IcebergType

COMMIT, WAREHOUSE, LEFT_OUT = "xlwh.commit", "xlwh.warehouse", "xlwh.left_out"
"""Properties of an exported table: the manifest commit that it shows, of which warehouse, and the columns that it lacks."""
_MAPPING = "schema.name-mapping.default"
"""Property of Iceberg that says which column of a file is which of the table, for files without Iceberg's numbers."""
_HINT = "version-hint.text"
_FOREIGN = (pl.Float16, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
"""Types of stored columns that Iceberg has not."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made of one table."""

    table: str
    files: int
    """That it has now."""
    added: int
    removed: int
    left_out: Mapping[str, str]
    """Columns whose types Iceberg has not -> these types."""


def export(warehouse: Warehouse, target: str, tables: Sequence[str] = ()) -> tuple[int, list[Exported]]:
    """Bring the Iceberg tables at `target` up to the last commit; its number, and what was done with each table.

    `target` is a folder, or a URL in an object store where the warehouse is in one. `tables`: default all that have files,
    or had when they were exported. Files out of the study's scope are left out. `StoreError` where pyiceberg is missing,
    the target does not do, or another export is at it.
    """
    for name in tables:
        contract(name)
    try:
        import pyiceberg.io.pyarrow  # noqa: F401
    except ImportError as error:
        raise StoreError(
            f"Iceberg tables need packages that cannot be imported ({error}). Run: pip install 'xlwh[iceberg]'"
        ) from None
    place, base = place_of(target, warehouse.root), base_of(warehouse.root)
    snapshot = warehouse.manifest.snapshot()
    entries: dict[str, list[Entry]] = {}
    for entry in snapshot.shown:
        entries.setdefault(entry.slot.table, []).append(entry)
    with place.held():
        named = tables or [
            name for name in TABLES if name in entries or place.read(f"{name}/metadata/{_HINT}")
        ]
        done = [
            _Export(place, base, warehouse, name).run(entries.get(name, []), snapshot.commit)
            for name in dict.fromkeys(named)
        ]
    return snapshot.commit, done


def _columns(
    warehouse: Warehouse, name: str, entries: Iterable[Entry]
) -> dict[str, tuple[pl.DataType, bool]]:
    """All columns of a table's files -> type, and whether the exported table has it.

    Readers want to know of those too that it lacks: they are in the files.
    """
    own = schema(name)
    found = {column: (dtype, _is_known(dtype)) for column, dtype in own.items()}
    for entry in {each.version: each for each in entries if each.version != contract(name).version}.values():
        file = scan(warehouse.root, [entry])
        for column, dtype in decoded(file.collect_schema).items():
            found.setdefault(column, (dtype, False))
    return found


def _is_known(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.List):
        return _is_known(dtype.inner)  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return all(_is_known(field.dtype) for field in dtype.fields)  # type: ignore[arg-type]
    return not isinstance(dtype, _FOREIGN)


def _type(dtype: pl.DataType, numbers: Iterator[int]) -> IcebergType:
    """The type of Iceberg for one of Polars; for one that Iceberg has not, that by which its readers know the column."""
    from pyiceberg import types as iceberg

    if isinstance(dtype, pl.List):
        inner: Any = dtype.inner
        return iceberg.ListType(next(numbers), _type(inner, numbers), element_required=False)
    if isinstance(dtype, pl.Struct):
        fields = [
            iceberg.NestedField(next(numbers), field.name, _type(field.dtype, numbers), required=False)  # type: ignore[arg-type]
            for field in dtype.fields
        ]
        return iceberg.StructType(*fields)
    simple: dict[Any, IcebergType] = {
        pl.String: iceberg.StringType(),
        pl.Boolean: iceberg.BooleanType(),
        **dict.fromkeys((pl.Int8, pl.Int16, pl.Int32), iceberg.IntegerType()),
        **dict.fromkeys((pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64), iceberg.LongType()),
        **dict.fromkeys((pl.Float16, pl.Float32), iceberg.FloatType()),
        pl.Float64: iceberg.DoubleType(),
    }
    try:
        return simple[dtype.base_type()]
    except KeyError:
        raise StoreError(
            f"A column of type {dtype} cannot be exported: no type of Iceberg is known for it."
        ) from None


class _Export:
    """The export of one table."""

    def __init__(self, place: Place, base: str, warehouse: Warehouse, name: str) -> None:
        self._place, self._base, self._warehouse, self._name = place, base, warehouse, name
        self._numbers = count(1)
        self.location = f"{place.url}/{name}"

    def run(self, entries: Sequence[Entry], commit: int) -> Exported:
        columns = _columns(self._warehouse, self._name, entries)
        version, metadata = self._last()
        if metadata is None:
            metadata = self._new(columns)
        table = self._table(version, metadata)
        wanted = {self._address(entry): entry for entry in entries}
        there = self._files(table)
        new = {path: entry for path, entry in wanted.items() if path not in there}
        for entry in new.values():
            self._copy_packed(entry)
        added = [_file(path, entry) for path, entry in new.items()]
        gone = [file for path, file in there.items() if path not in wanted]
        # What the contract has: a column of earlier ones that it has no more is none of the table.
        left_out = {
            column: str(dtype)
            for column, (dtype, is_shown) in columns.items()
            if not is_shown and column in schema(self._name)
        }
        properties = {
            COMMIT: str(commit),
            WAREHOUSE: name_of(self._warehouse.root),
            LEFT_OUT: json.dumps(left_out),
        }
        transaction = table.transaction()
        self._bring_columns(transaction, columns)
        if not properties.items() <= metadata.properties.items():
            transaction.set_properties(properties)
        if added or gone:
            update = transaction.update_snapshot(snapshot_properties={COMMIT: str(commit)})
            with update.overwrite() if gone else update.fast_append() as change:
                for file in added:
                    change.append_data_file(file)
                for file in gone:
                    change.delete_data_file(file)
        # Writes nothing where nothing has changed.
        transaction.commit_transaction()
        return Exported(self._name, len(wanted), len(added), len(gone), left_out)

    def _address(self, entry: Entry) -> str:
        """Of the file of the warehouse; of one that was packed, of a copy: a segment has rows of many partitions, and former ones."""
        if entry.segment is None:
            return f"{self._base}/{entry.file}"
        return f"{self._place.url}/{self._copy_of(entry)}"

    def _copy_of(self, entry: Entry) -> str:
        return f"{self._name}/data/{entry.digest}.parquet"

    def _copy_packed(self, entry: Entry) -> None:
        if entry.segment is None:
            return
        require_undamaged(self._warehouse.root, entry)
        # Another export may have put it there, and nobody else: its name says what is in it.
        with suppress(TakenError):
            self._place.create(self._copy_of(entry), content(self._warehouse.root, entry))

    def _files(self, table: Table) -> dict[str, DataFile]:
        """The files of a table by their addresses, those without rows among them, which a scan passes over."""
        snapshot = table.metadata.current_snapshot()
        try:
            return {
                entry.data_file.file_path: entry.data_file
                for manifest in ([] if snapshot is None else snapshot.manifests(table.io))
                for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
            }
        except Exception as error:  # whatever a decoder of Avro makes of damaged bytes
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise StoreError(f"{self.location} has lost metadata: {reason}. {self._again}") from error

    @property
    def _again(self) -> str:
        return f"Choose another place, or delete {self.location} and export again."

    # Versions of the metadata.

    def _path(self, version: int) -> str:
        return f"{self._name}/metadata/v{version}.metadata.json"

    def _name_last(self, version: int) -> None:
        self._place.put(f"{self._name}/metadata/{_HINT}", str(version).encode())

    def _last(self) -> tuple[int, TableMetadata | None]:
        """The last version of the metadata and its number; 0 and None where there is none."""
        from pyiceberg.exceptions import ValidationError
        from pyiceberg.table.metadata import TableMetadataUtil

        hint = self._place.read(f"{self._name}/metadata/{_HINT}") or b"0"
        version, content = whole_number(hint) or 0, None
        # The hint comes after what it names: an export that was stopped leaves it behind.
        while (later := self._place.read(self._path(version + 1))) is not None:
            version, content = version + 1, later
        if content is not None:
            self._name_last(version)
        else:
            content = self._place.read(self._path(version))
        if content is None:
            if version or hint != b"0":
                raise StoreError(f"{self.location} has lost its metadata of version {hint!r}. {self._again}")
            return 0, None
        try:
            metadata = TableMetadataUtil.parse_raw(content.decode())
        except (ValidationError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise StoreError(
                f"{self._place.url}/{self._path(version)} cannot be read: {reason}. {self._again}"
            ) from None
        shown, own = metadata.properties.get(WAREHOUSE), name_of(self._warehouse.root)
        if shown is None:
            raise StoreError(
                f"{self.location} is an Iceberg table that xlwh did not make. Choose another place."
            )
        if shown != own:
            raise StoreError(f"{self.location} is of the warehouse at {shown}, not of {own}. {self._again}")
        return version, metadata

    def _new(self, columns: Mapping[str, tuple[pl.DataType, bool]]) -> TableMetadata:
        from pyiceberg.partitioning import PartitionField, PartitionSpec
        from pyiceberg.schema import Schema
        from pyiceberg.table.metadata import new_table_metadata
        from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
        from pyiceberg.transforms import IdentityTransform
        from pyiceberg.types import NestedField

        made = Schema(
            *(
                NestedField(
                    next(self._numbers),
                    column,
                    _type(dtype, self._numbers),
                    required=False,
                    doc=self._doc(column),
                )
                for column, (dtype, _) in columns.items()
            )
        )
        partitions = PartitionSpec(
            *(
                PartitionField(made.find_field(column).field_id, 1000 + i, IdentityTransform(), column)
                for i, column in enumerate(contract(self._name).partition_by)
            )
        )
        properties = {
            # No engine may remove files that are the warehouse's.
            "gc.enabled": "false",
            "comment": " ".join((contract(self._name).__doc__ or "").split()),
        }
        metadata = new_table_metadata(made, partitions, UNSORTED_SORT_ORDER, self.location, properties)
        mapping = metadata.schema().name_mapping.model_dump_json()
        return metadata.model_copy(update={"properties": {**metadata.properties, _MAPPING: mapping}})

    def _doc(self, column: str) -> str | None:
        described = contract(self._name).columns().get(column)
        return None if described is None else described.description

    def _table(self, version: int, metadata: TableMetadata) -> Table:
        """The table, whose changes are written as the next version."""
        from pyiceberg.catalog.noop import NoopCatalog
        from pyiceberg.io import load_file_io
        from pyiceberg.table import CommitTableResponse, Table
        from pyiceberg.table.update import update_table_metadata

        def written(table: Table, _requirements: Any, updates: Any) -> CommitTableResponse:
            before = f"{self._place.url}/{self._path(version)}" if version else None
            changed = update_table_metadata(table.metadata, updates, metadata_location=before)
            try:
                self._place.create(
                    self._path(version + 1), changed.model_dump_json(exclude_none=True).encode()
                )
            except TakenError:
                raise StoreError(
                    f"Another export to {self.location} was quicker. Run the command again."
                ) from None
            self._name_last(version + 1)
            location = f"{self._place.url}/{self._path(version + 1)}"
            return CommitTableResponse(**{"metadata": changed.model_dump(), "metadata-location": location})

        catalogue: Any = NoopCatalog("xlwh")
        catalogue.commit_table = written
        location = f"{self._place.url}/{self._path(version)}"
        return Table(
            ("xlwh", self._name), metadata, location, load_file_io(settings(), self.location), catalogue
        )

    def _bring_columns(
        self, transaction: Transaction, columns: Mapping[str, tuple[pl.DataType, bool]]
    ) -> None:
        """Have the columns that are shown, and let readers know of the others."""
        has = {field.name: field.field_type for field in transaction.table_metadata.schema().fields}
        mapping = transaction.table_metadata.name_mapping()
        mapped = set() if mapping is None else {name for field in mapping.root for name in field.names}
        shown = {column for column, (_, is_shown) in columns.items() if is_shown}
        changed = {
            column
            for column in shown & has.keys()
            if _skeleton(has[column]) != _skeleton(_type(columns[column][0], self._numbers))
        }
        gone = [column for column in has if column not in shown or column in changed]
        new = [
            column
            for column in columns
            if column in changed or column not in (has if column in shown else mapped)
        ]
        hidden = [column for column in new if column not in shown]
        if gone:
            with transaction.update_schema(allow_incompatible_changes=True) as update:
                for column in gone:
                    update.delete_column(column)
        if new:
            with transaction.update_schema() as update:
                for column in new:
                    update.add_column(column, _type(columns[column][0], self._numbers), doc=self._doc(column))
        if hidden:
            # Dropped columns stay in the mapping.
            with transaction.update_schema(allow_incompatible_changes=True) as update:
                for column in hidden:
                    update.delete_column(column)


def _skeleton(kind: IcebergType) -> object:
    """A type without the numbers of what is in it."""
    from pyiceberg import types as iceberg

    if isinstance(kind, iceberg.ListType):
        return "list", _skeleton(kind.element_type)
    if isinstance(kind, iceberg.StructType):
        return tuple((field.name, _skeleton(field.field_type)) for field in kind.fields)
    return str(kind)


def _file(path: str, entry: Entry) -> DataFile:
    """A stored file as Iceberg has it: nothing of it is read."""
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(*entry.slot.keys),
        record_count=entry.rows,
        file_size_in_bytes=entry.size_bytes,
        column_sizes={},
        value_counts={},
        null_value_counts={},
        nan_value_counts={},
        lower_bounds={},
        upper_bounds={},
        key_metadata=None,
        split_offsets=None,
        equality_ids=None,
        sort_order_id=None,
        spec_id=0,
    )

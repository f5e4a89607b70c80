"""The tables of a manifest in PostgreSQL, and how those of an earlier version get to be the present ones."""

from __future__ import annotations

from collections.abc import Mapping

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """create table about (name text collate "C" primary key, value text not null)""",
        """create table commits (
    number bigint primary key,
    created_at text collate "C" not null,
    token text unique
)""",
        """create table versions (
    slot_table text collate "C" not null,
    keys text collate "C" not null,
    part text collate "C" not null,
    file text collate "C" not null unique,
    fingerprint text collate "C" not null,
    rows bigint not null,
    size_bytes bigint not null,
    version bigint not null,
    valid_from bigint not null references commits (number),
    valid_to bigint references commits (number),
    removed smallint not null default 0,
    digest text collate "C",
    check (valid_to > valid_from)
)""",
        "create unique index one_current on versions (slot_table, keys, part) where valid_to is null",
        "create index by_validity on versions (valid_from, valid_to)",
        "create index by_end on versions (valid_to) where valid_to is not null",
        """create table hidden (
    slot_table text collate "C" not null,
    keys text collate "C" not null,
    part text collate "C" not null,
    valid_from bigint not null references commits (number),
    valid_to bigint references commits (number)
)""",
        "create unique index one_hidden on hidden (slot_table, keys, part) where valid_to is null",
        "create index hidden_from on hidden (valid_from)",
        "create index hidden_to on hidden (valid_to)",
        """create table scope (
    one smallint primary key check (one = 1),
    study text collate "C" not null,
    digest text collate "C" not null,
    head bigint not null
)""",
        """create table artefacts (
    kind text collate "C" not null,
    name text collate "C" not null,
    fingerprint text collate "C" not null,
    file text collate "C" not null,
    size_bytes bigint not null,
    digest text collate "C" not null,
    valid_from bigint not null references commits (number),
    valid_to bigint references commits (number),
    removed smallint not null default 0
)""",
        "create unique index one_artefact on artefacts (kind, name, file) where valid_to is null",
        "create index artefact_files on artefacts (file)",
        "create index artefacts_from on artefacts (valid_from)",
        "create index artefacts_to on artefacts (valid_to)",
        """create table leases (
    name text collate "C" primary key,
    claim text collate "C" not null,
    host text not null,
    process bigint not null,
    program text not null,
    since timestamptz not null,
    renewed_at timestamptz not null,
    until timestamptz not null
)""",
        "create index by_claim on leases (claim)",
    ),
    (
        """alter table versions
    add column segment text collate "C",
    add column number bigint,
    add column packed_from bigint references commits (number)""",
        "create index by_segment on versions (segment) where segment is not null",
        "create index by_packing on versions (packed_from) where packed_from is not null",
    ),
)
"""What makes schema version 1 of nothing, then each version of the one before it."""

_ENTRY = ("slot_table", "keys", "part", "file", "fingerprint", "rows", "size_bytes", "version")
_VALID = ("valid_from", "valid_to")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "about": ("name", "value"),
    "commits": ("number", "created_at"),
    "versions": (*_ENTRY, *_VALID, "removed", "digest", "segment", "number", "packed_from"),
    "hidden": (*_ENTRY[:3], *_VALID),
    "scope": ("one", "study", "digest", "head"),
    "artefacts": ("kind", "name", "fingerprint", "file", "size_bytes", "digest", *_VALID, "removed"),
}
"""Tables -> columns of the last version, as far as a manifest's statements know them."""

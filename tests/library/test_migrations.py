"""Migrations: the newest one makes exactly the tables of the models."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import column, create_engine, insert, inspect, table, text

import library.migrating
from library.errors import RecordError
from library.migrating import SCHEMA_REVISION
from library.models import Base
from library.record import Record


def test_the_known_revision_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "library" / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_REVISION


def test_the_migrations_make_the_tables_that_the_models_describe(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite3"
    Record.open(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_opening_twice_migrates_once(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite3"
    Record.open(path).close()
    before = path.read_bytes()
    Record.open(path).close()
    assert path.read_bytes() == before


REVISIONS = ["0001", "0002"]
# A row of every table of the first schema, as an earlier version would have written it.
ROWS = {
    "shelves": {"id": 1, "name": "water"},
    "documents": {
        "id": "d1", "path": "water/boil.md", "shelf_id": 1, "title": "Boil", "authors": '["Ann"]', "language": "en",
        "year": 1990, "format": "markdown", "size_bytes": 1, "mtime_ns": 1, "digest": "0" * 64, "state": "findable",
        "reason": None, "chunks": 1, "embedded": 1, "received_at": "2026-01-01 00:00:00",
        "updated_at": "2026-01-01 00:00:00",
    },
    "sections": {
        "id": 1, "document_id": "d1", "ordinal": 0, "level": 1, "heading_path": '["Boil"]', "anchor": "", "text": "Boil it.",
    },
    "chunks": {"id": "c1", "document_id": "d1", "ordinal": 0, "section": 0, "start": 0, "end": 8},
}  # fmt: skip


def at_revision(path: Path, revision: str) -> None:
    """A record of that revision with a row in every table."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "library" / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table_name, row in ROWS.items():
            columns = {one["name"]: one for one in inspect(connection).get_columns(table_name)}
            needed = {name for name, one in columns.items() if not one["nullable"] and not one["default"]}
            assert needed <= row.keys(), f"{table_name} of the first schema has {needed - row.keys()}, too"
            given = {name: value for name, value in row.items() if name in columns}
            connection.execute(insert(table(table_name, *map(column, given))), given)
        command.upgrade(config, revision)
    engine.dispose()


def rows_of(path: Path) -> dict[str, int]:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        counts = {
            name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in ROWS
        }
    engine.dispose()
    return counts


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_upgrade_loses_nothing(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "record.sqlite3"
    at_revision(path, revision)
    Record.open(path).close()
    assert rows_of(path) == dict.fromkeys(ROWS, 1)


def test_the_revisions_are_all_that_came_before() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "library" / "migrations"))
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert sorted(known) == [*REVISIONS, SCHEMA_REVISION]


def test_an_upgrade_that_would_lose_something_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.sqlite3"
    at_revision(path, "0002")
    upgrade = library.migrating._upgrade

    def forgetful(connection, revision):  # type: ignore[no-untyped-def]
        upgrade(connection, revision)
        connection.execute(text("DELETE FROM sections"))

    monkeypatch.setattr(library.migrating, "_upgrade", forgetful)
    with pytest.raises(RecordError, match="would lose 1 rows of sections"):
        Record.open(path)
    monkeypatch.undo()
    assert rows_of(path) == dict.fromkeys(ROWS, 1)
    Record.open(path).close()
    assert rows_of(path) == dict.fromkeys(ROWS, 1)


def test_an_upgrade_that_is_cut_short_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a kill: what changes tables is in the transaction, too."""
    path = tmp_path / "record.sqlite3"
    at_revision(path, "0001")
    before = schema_of(path)
    upgrade = library.migrating._upgrade

    def cut_short(connection, revision):  # type: ignore[no-untyped-def]
        upgrade(connection, revision)
        raise KeyboardInterrupt

    monkeypatch.setattr(library.migrating, "_upgrade", cut_short)
    with pytest.raises(KeyboardInterrupt):
        Record.open(path)
    monkeypatch.undo()
    assert schema_of(path) == before
    Record.open(path).close()
    assert rows_of(path) == dict.fromkeys(ROWS, 1)


def schema_of(path: Path) -> list[tuple[object, ...]]:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        found = connection.execute(text("SELECT name, sql FROM sqlite_master ORDER BY name")).all()
    engine.dispose()
    return [tuple(row) for row in found]

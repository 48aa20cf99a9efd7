"""Migrations: the newest one makes exactly the tables of the models."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from library.models import Base
from library.record import SCHEMA_REVISION, Record


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

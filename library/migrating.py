"""Migrating: a record of an earlier version brought up to date, wholly or not at all.

Its hard rules: everything happens in one transaction; foreign keys are not
enforced meanwhile, since SQLite changes some tables by making them anew, and to
drop the old one would drop whatever belongs to its rows; and a migration after
which a table holds fewer rows than before is undone.
"""

from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, func, inspect, select, table, text
from sqlalchemy.exc import SQLAlchemyError

from library.errors import RecordError

# The newest migration. Kept here so that a start with a current schema need
# not import Alembic (a quarter of a second); a test compares it with the
# migrations themselves.
SCHEMA_REVISION = "0003"


def migrate(path: Path) -> None:
    """Bring the record at `path` to SCHEMA_REVISION; make it if there is none.

    Raises RecordError when it is of a newer version or would lose rows, and
    SQLAlchemy's errors; nothing has been changed then.
    """
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30}, poolclass=NullPool)
    event.listen(engine, "connect", _leave_transactions_to_us)
    event.listen(engine, "begin", _begin)
    try:
        revision = _revision(engine)
        if revision == SCHEMA_REVISION:
            return
        with engine.begin() as connection:
            before = _counted(connection)
            _upgrade(connection, revision)
            _nothing_lost(before, _counted(connection))
    finally:
        engine.dispose()


def _leave_transactions_to_us(connection: Any, _: object) -> None:
    connection.isolation_level = None  # or sqlite3 would begin none for what changes tables
    connection.execute("PRAGMA foreign_keys=OFF")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _upgrade(connection: Connection, revision: str | None) -> None:
    from alembic import command  # noqa: PLC0415 - see SCHEMA_REVISION
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util.exc import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise RecordError(
            f"The record has schema {revision}, which this version of Almanac does not know: it was "
            "written by a newer one. Install that version again; nothing has been changed."
        ) from error


class _Count(NamedTuple):
    rows: dict[str, int]  # of each table
    orphans: int  # rows that name one which is not there


def _counted(connection: Connection) -> _Count:
    tables = inspect(connection).get_table_names()
    rows = {name: connection.scalars(select(func.count()).select_from(table(name))).one() for name in tables}
    return _Count(rows, len(connection.exec_driver_sql("PRAGMA foreign_key_check").all()))


def _nothing_lost(before: _Count, after: _Count) -> None:
    lost = {name: rows - after.rows.get(name, 0) for name, rows in before.rows.items()}
    lost["what others name"] = after.orphans - before.orphans
    if any(count > 0 for count in lost.values()):
        told = ", ".join(f"{count} rows of {name}" for name, count in lost.items() if count > 0)
        raise RecordError(
            f"Bringing the record up to date would lose {told}. Nothing has been changed. "
            "Install the version of before again, and report this."
        )


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        try:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        except SQLAlchemyError:
            return None

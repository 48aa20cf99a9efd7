"""Documents sorted by title, looked up by words of their title, authors, subjects and path; their authors as rows."""

import json

import sqlalchemy as sa
from alembic import op

from library.folding import fold, lookup, sort_key

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FOLDED = ("title_key", "path_key", "lookup")
_BY_TITLE = ["title_key", "id", "state", "shelf_id", "language", "format"]


def upgrade() -> None:
    with op.batch_alter_table("documents") as documents:
        for name in _FOLDED:
            documents.add_column(sa.Column(name, sa.String(), nullable=False, server_default=""))
    op.create_table(
        "authors",
        sa.Column("document_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name="fk_authors_document_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("document_id", "key", name="pk_authors"),
    )
    op.create_index("ix_authors_key_document_id", "authors", ["key", "document_id"])
    _fill(op.get_bind())
    op.create_index(f"ix_documents_{'_'.join(_BY_TITLE)}", "documents", _BY_TITLE)
    op.create_index("ix_documents_received_at_id", "documents", ["received_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_documents_received_at_id", "documents")
    op.drop_index(f"ix_documents_{'_'.join(_BY_TITLE)}", "documents")
    op.drop_table("authors")
    with op.batch_alter_table("documents") as documents:
        for name in _FOLDED:
            documents.drop_column(name)


def _fill(connection: sa.Connection) -> None:
    """What is folded for a new document, for those that are there."""
    rows = connection.execute(sa.text("SELECT id, title, path, authors, subjects FROM documents")).all()
    folded, authors = [], []
    for id_, title, path, named, subjects in rows:
        names, about = json.loads(named or "[]"), json.loads(subjects or "[]")
        folded.append(
            {
                "id": id_,
                "title_key": sort_key(title),
                "path_key": fold(path),
                "lookup": lookup(title, names, about),
            }
        )
        by_key = {sort_key(name): name for name in reversed(names) if sort_key(name)}
        authors += [{"document_id": id_, "key": key, "name": name} for key, name in by_key.items()]
    if folded:
        connection.execute(
            sa.text(
                "UPDATE documents SET title_key = :title_key, path_key = :path_key, lookup = :lookup "
                "WHERE id = :id"
            ),
            folded,
        )
    if authors:
        connection.execute(
            sa.text("INSERT INTO authors (document_id, key, name) VALUES (:document_id, :key, :name)"),
            authors,
        )

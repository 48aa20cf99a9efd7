"""More of what a book says of itself, offsets into its text, a second watermark, facts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Between two sections stands one blank line; see `library.values.Section.start`.
_STARTS = """
UPDATE sections SET start = (
    SELECT coalesce(sum(length(earlier.text) + 2), 0) FROM sections AS earlier
    WHERE earlier.document_id = sections.document_id AND earlier.ordinal < sections.ordinal
)
"""


def upgrade() -> None:
    nothing = {"identifiers": "[]", "subjects": "[]"}
    with op.batch_alter_table("documents") as documents:
        for name, default in nothing.items():
            documents.add_column(sa.Column(name, sa.JSON(), nullable=False, server_default=default))
        documents.add_column(sa.Column("description", sa.String(), nullable=False, server_default=""))
        documents.add_column(sa.Column("cover", sa.String()))
        documents.add_column(sa.Column("rebuilt", sa.Integer(), nullable=False, server_default="0"))
        documents.add_column(sa.Column("reshelve", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_documents_updated_at", "documents", ["updated_at"])
    counted = ["state", "shelf_id", "chunks", "embedded"]
    op.create_index(f"ix_documents_{'_'.join(counted)}", "documents", counted)
    with op.batch_alter_table("sections") as sections:
        sections.add_column(sa.Column("start", sa.Integer(), nullable=False, server_default="0"))
    op.execute(_STARTS)
    op.create_table(
        "facts",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("facts")
    with op.batch_alter_table("sections") as sections:
        sections.drop_column("start")
    op.drop_index("ix_documents_state_shelf_id_chunks_embedded", "documents")
    op.drop_index("ix_documents_updated_at", "documents")
    with op.batch_alter_table("documents") as documents:
        for name in ("identifiers", "subjects", "description", "cover", "rebuilt", "reshelve"):
            documents.drop_column(name)

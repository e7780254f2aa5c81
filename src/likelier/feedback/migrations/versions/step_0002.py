"""Media files as responses: a table of them, and the file of a response that is one (its text is then empty)."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add media files and let a response refer to one."""
    op.create_table(
        "media",
        sa.Column("sha256", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    # As SQL, since Alembic adds a reference in a statement of its own, which SQLite does not know.
    op.execute("ALTER TABLE responses ADD COLUMN media_sha256 TEXT REFERENCES media (sha256)")

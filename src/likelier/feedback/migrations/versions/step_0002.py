"""Media responses: a table of media files, and a reference to it from responses, whose text is then empty."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the media table and let responses refer to it."""
    op.create_table(
        "media",
        sa.Column("sha256", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    # As SQL, since Alembic adds a reference in a statement of its own, which SQLite does not know.
    op.execute("ALTER TABLE responses ADD COLUMN media_sha256 TEXT REFERENCES media (sha256)")

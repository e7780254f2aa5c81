"""Ratings of single responses: thumbs, and numbers on a scale. Like judgements they are only added."""

import sqlalchemy as sa
from alembic import op

from likelier.feedback.migrations.versions.step_0001 import only_added

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the ratings."""
    op.create_table(
        "ratings",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("response_id", sa.Text, sa.ForeignKey("responses.id"), nullable=False, index=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False, index=True),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("extra", sa.Text, nullable=False),
        sa.CheckConstraint("kind IN ('thumbs', 'scale')", name="kind_is_known"),
    )
    only_added("ratings")

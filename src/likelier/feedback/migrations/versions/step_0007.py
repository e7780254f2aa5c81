"""Of people on the judging page: what they skipped, what is on their screens, and which prompts they typed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "skips",
        sa.Column("project", sa.Text, primary_key=True),
        sa.Column("annotator_id", sa.Text, primary_key=True),
        sa.Column("question_id", sa.Text, primary_key=True),
    )
    op.create_table(
        "screens",
        sa.Column("project", sa.Text, primary_key=True),
        sa.Column("annotator_id", sa.Text, primary_key=True),
        sa.Column("held", sa.Text, nullable=False),
        sa.Column("ends_at", sa.Float, nullable=False),
    )
    op.create_table(
        "written",
        sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), primary_key=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
    )
    op.create_index("ix_written_annotator_id", "written", ["annotator_id"])

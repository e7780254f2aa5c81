"""Accounts by invitation with their sessions; judgements that supersede others, call both bad, or have a strength."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of accounts and add columns to the judgements."""
    add_judgement_columns()
    create_account_tables()


def add_judgement_columns() -> None:
    """Let a judgement say more; a judgement can be superseded once."""
    op.execute("ALTER TABLE judgements ADD COLUMN both_bad BOOLEAN NOT NULL DEFAULT FALSE")
    op.add_column("judgements", sa.Column("strength", sa.Integer))
    op.add_column("judgements", sa.Column("supersedes", sa.Text))
    op.create_index("judgements_supersedes", "judgements", ["supersedes"], unique=True)


def create_account_tables() -> None:
    """Tokens are stored as SHA-256 alone: a copy of the database opens no session. Times are in seconds since 1970."""
    op.create_table(
        "accounts",
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "invitations",
        sa.Column("token_hash", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id")),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.Text, primary_key=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("accounts.annotator_id"), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
    op.create_index("ix_sessions_annotator_id", "sessions", ["annotator_id"])

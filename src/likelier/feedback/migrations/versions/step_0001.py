"""The initial tables: prompts, responses, comparisons, annotators, people, and append-only judgements."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create all tables."""
    text_tables()
    people_tables()
    judgement_table()
    only_added("judgements")


def text_tables() -> None:
    """Create prompts, responses and comparisons."""
    op.create_table(
        "prompts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("conversation", sa.Text, nullable=False),
        sa.Column("extra", sa.Text, nullable=False),
    )
    op.create_table(
        "responses",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False, index=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("stop_reason", sa.Text, nullable=False),
    )
    op.create_table(
        "comparisons",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False, index=True),
        sa.Column("response_a", sa.Text, sa.ForeignKey("responses.id"), nullable=False),
        sa.Column("response_b", sa.Text, sa.ForeignKey("responses.id"), nullable=False),
    )


def people_tables() -> None:
    """Create annotators, and people's names in a table of their own."""
    op.create_table("annotators", sa.Column("id", sa.Text, primary_key=True))
    op.create_table(
        "people",
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )


def judgement_table() -> None:
    """Create the judgements."""
    op.create_table(
        "judgements",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("comparison_id", sa.Text, sa.ForeignKey("comparisons.id"), nullable=False, index=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False, index=True),
        sa.Column("left_id", sa.Text, sa.ForeignKey("responses.id"), nullable=False),
        sa.Column("right_id", sa.Text, sa.ForeignKey("responses.id"), nullable=False),
        sa.Column("choice", sa.Text, nullable=False),
        sa.Column("duration_seconds", sa.Float),
        sa.Column("created_at", sa.Text),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("guideline", sa.Text, nullable=False),
        sa.Column("extra", sa.Text, nullable=False),
        sa.CheckConstraint("choice IN ('left', 'right', 'tie')", name="choice_is_known"),
        sa.CheckConstraint("left_id <> right_id", name="sides_differ"),
    )


def only_added(table: str) -> None:
    """Add triggers that reject changes and deletions of the rows of `table`."""
    refusal = f"{table} are only ever added"
    if op.get_bind().dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{refusal}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_only_added BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION refuse_{table}()"
    )

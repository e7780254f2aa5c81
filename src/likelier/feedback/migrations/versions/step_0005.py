"""Projects with their members, guidelines and gold items; rankings; judgements and ratings of a project."""

import sqlalchemy as sa
from alembic import op

from likelier.feedback.migrations.versions.step_0001 import only_added

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

DEFAULT = "default"
"""The project of what stood in a database before there were projects."""


def upgrade() -> None:
    """Create the tables, and put all that is there into one project."""
    create_project_tables()
    create_rankings()
    add_columns()
    fill_default_project()


def create_project_tables() -> None:
    """Create the projects, and what belongs to each."""
    op.create_table(
        "projects",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("settings", sa.Text, nullable=False),
    )
    create_membership("project_prompts", "prompt_id", "prompts.id")
    create_membership("project_comparisons", "comparison_id", "comparisons.id")
    create_membership("members", "annotator_id", "annotators.id")
    op.create_table(
        "guidelines",
        sa.Column("project", sa.Text, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )
    only_added("guidelines")
    op.create_table(
        "gold",
        sa.Column("project", sa.Text, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("comparison_id", sa.Text, sa.ForeignKey("comparisons.id"), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("better", sa.Text, sa.ForeignKey("responses.id")),
        sa.Column("explanation", sa.Text, nullable=False),
        sa.CheckConstraint("kind IN ('gold', 'training')", name="kind_of_gold_is_known"),
    )


def create_membership(table: str, column: str, target: str) -> None:
    """Create a table of what belongs to which project."""
    op.create_table(
        table,
        sa.Column("project", sa.Text, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column(column, sa.Text, sa.ForeignKey(target), primary_key=True),
    )
    op.create_index(f"ix_{table}_{column}", table, [column])


def create_rankings() -> None:
    """Create the rankings of several responses to a prompt."""
    op.create_table(
        "rankings",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False),
        sa.Column("order", sa.Text, nullable=False),
        sa.Column("shown", sa.Text, nullable=False),
        sa.Column("duration_seconds", sa.Float),
        sa.Column("created_at", sa.Text),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("guideline", sa.Text, nullable=False),
        sa.Column("supersedes", sa.Text),
        sa.Column("extra", sa.Text, nullable=False),
    )
    op.create_index("ix_rankings_annotator_id", "rankings", ["annotator_id"])
    op.create_index("rankings_by_project", "rankings", ["project", "number"])
    op.create_index("rankings_supersedes", "rankings", ["supersedes"], unique=True)
    only_added("rankings")


def add_columns() -> None:
    """Let judgements and ratings name their project, and an invitation what it opens."""
    for table in ("judgements", "ratings"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN project TEXT NOT NULL DEFAULT '{DEFAULT}'")
        op.create_index(f"{table}_by_project", table, ["project", "number"])
    op.execute("ALTER TABLE judgements ADD COLUMN adjudicates BOOLEAN NOT NULL DEFAULT FALSE")
    op.add_column("ratings", sa.Column("duration_seconds", sa.Float))
    op.execute("ALTER TABLE ratings ADD COLUMN guideline TEXT NOT NULL DEFAULT ''")
    op.add_column("ratings", sa.Column("supersedes", sa.Text))
    op.create_index("ratings_supersedes", "ratings", ["supersedes"], unique=True)
    op.add_column("invitations", sa.Column("project", sa.Text))


def fill_default_project() -> None:
    """Put all prompts, comparisons and accounts into the one project of an older database."""
    connection = op.get_bind()
    if not any(
        connection.execute(sa.text(f"SELECT 1 FROM {table} LIMIT 1")).first() for table in ("prompts", "accounts")
    ):
        return
    op.execute(f"INSERT INTO projects (name, settings) VALUES ('{DEFAULT}', '{{}}')")
    for table, column, source in (
        ("project_prompts", "prompt_id", "SELECT id FROM prompts"),
        ("project_comparisons", "comparison_id", "SELECT id FROM comparisons"),
        ("members", "annotator_id", "SELECT annotator_id FROM accounts"),
    ):
        op.execute(f"INSERT INTO {table} (project, {column}) SELECT '{DEFAULT}', * FROM ({source}) AS known")
    op.execute(f"UPDATE invitations SET project = '{DEFAULT}' WHERE role <> 'admin'")

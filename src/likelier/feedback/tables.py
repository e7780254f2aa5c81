"""Tables of the feedback database: what people judge, what they answered, projects, and who may come in."""

import sqlalchemy as sa

metadata = sa.MetaData()
DEFAULT_PROJECT = "default"
"""The only project of a database in which nobody named one."""

prompts = sa.Table(
    "prompts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("conversation", sa.Text, nullable=False),
    sa.Column("extra", sa.Text, nullable=False),
)
responses = sa.Table(
    "responses",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False, index=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("stop_reason", sa.Text, nullable=False),
    sa.Column("media_sha256", sa.Text, sa.ForeignKey("media.sha256")),
)
media = sa.Table(
    "media",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
)
comparisons = sa.Table(
    "comparisons",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False, index=True),
    sa.Column("response_a", sa.Text, sa.ForeignKey("responses.id"), nullable=False),
    sa.Column("response_b", sa.Text, sa.ForeignKey("responses.id"), nullable=False),
)
annotators = sa.Table("annotators", metadata, sa.Column("id", sa.Text, primary_key=True))
people = sa.Table(
    "people",
    metadata,
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
)
judgements = sa.Table(
    "judgements",
    metadata,
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
    sa.Column("both_bad", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("strength", sa.Integer),
    sa.Column("supersedes", sa.Text),
    sa.Column("project", sa.Text, nullable=False, server_default=DEFAULT_PROJECT),
    sa.Column("adjudicates", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("judgements_supersedes", "supersedes", unique=True),
    sa.Index("judgements_by_project", "project", "number"),
)
ratings = sa.Table(
    "ratings",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("response_id", sa.Text, sa.ForeignKey("responses.id"), nullable=False, index=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False, index=True),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("extra", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False, server_default=DEFAULT_PROJECT),
    sa.Column("duration_seconds", sa.Float),
    sa.Column("guideline", sa.Text, nullable=False, server_default=""),
    sa.Column("supersedes", sa.Text),
    sa.Index("ratings_supersedes", "supersedes", unique=True),
    sa.Index("ratings_by_project", "project", "number"),
)
rankings = sa.Table(
    "rankings",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False, index=True),
    sa.Column("order", sa.Text, nullable=False),
    sa.Column("shown", sa.Text, nullable=False),
    sa.Column("duration_seconds", sa.Float),
    sa.Column("created_at", sa.Text),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("guideline", sa.Text, nullable=False),
    sa.Column("supersedes", sa.Text),
    sa.Column("extra", sa.Text, nullable=False),
    sa.Index("rankings_by_project", "project", "number"),
    sa.Index("rankings_supersedes", "supersedes", unique=True),
)
projects = sa.Table(
    "projects",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("settings", sa.Text, nullable=False),
)


def membership_table(name: str, column: str, target: str) -> sa.Table:
    """Return a table of what belongs to which project."""
    return sa.Table(
        name,
        metadata,
        sa.Column("project", sa.Text, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column(column, sa.Text, sa.ForeignKey(target), primary_key=True, index=True),
    )


project_prompts = membership_table("project_prompts", "prompt_id", "prompts.id")
project_comparisons = membership_table("project_comparisons", "comparison_id", "comparisons.id")
members = membership_table("members", "annotator_id", "annotators.id")
guidelines = sa.Table(
    "guidelines",
    metadata,
    sa.Column("project", sa.Text, sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
)
gold = sa.Table(
    "gold",
    metadata,
    sa.Column("project", sa.Text, sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("comparison_id", sa.Text, sa.ForeignKey("comparisons.id"), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("better", sa.Text, sa.ForeignKey("responses.id")),
    sa.Column("explanation", sa.Text, nullable=False),
)
secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
skips = sa.Table(
    "skips",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("annotator_id", sa.Text, primary_key=True),
    sa.Column("question_id", sa.Text, primary_key=True),
)
screens = sa.Table(
    "screens",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("annotator_id", sa.Text, primary_key=True),
    sa.Column("held", sa.Text, nullable=False),
    sa.Column("ends_at", sa.Float, nullable=False),
)
written = sa.Table(
    "written",
    metadata,
    sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), primary_key=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True, index=True),
)
accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)
invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("token_hash", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id")),
    sa.Column("project", sa.Text),
    sa.Column("expires_at", sa.Float, nullable=False),
)
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_hash", sa.Text, primary_key=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("accounts.annotator_id"), nullable=False, index=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
)

"""What counts as style in a text."""

from likelier.feedback.style import FEATURES, count_style


def test_features_are_counted_by_hand() -> None:
    text = "# Foxes\n## Red\n1. They **run**!\n  - Perhaps they **rest**; it seems so.\nNo #heading, 2 * 3 - 1."
    assert dict(zip(FEATURES, count_style(text), strict=True)) == {
        "list items": 2, "bold words": 2, "headings": 2, "exclamation marks": 1, "hedges": 2,
    }  # fmt: skip
    assert count_style("") == (0, 0, 0, 0, 0)
    assert count_style("也许吧！可能") == (0, 0, 0, 1, 2)
    assert count_style("Maybe not. maybenot") == (0, 0, 0, 0, 1)

"""What `likelier eval` prints for several judges."""

from likelier.cli.evaluate import show

SCORED = {"win_rate": 0.75, "interval": [0.5, 0.875], "ties": 1, "n": 8, "score_a": 0.25, "score_b": 0.5}
SCORED |= {"difference": 0.25, "difference_interval": [0.125, 0.375]}
ASKED = {"win_rate": 0.5, "interval": None, "judgements": 8}


def test_every_judge_has_a_line_with_its_scores(capsys):
    show({"win_rate": 0.75, "judges": {"token_f1": SCORED, "chrf": SCORED | {"score_b": 0.0625}, "people": ASKED}})
    assert capsys.readouterr().out == (
        "win rate  0.75\n"
        "\n"
        "The first of 3 judges decides:\n"
        "judge     win rate  interval      score a  score b  difference  difference interval\n"
        "token_f1  0.75      0.5 to 0.875  0.25     0.5      0.25        0.125 to 0.375\n"
        "chrf      0.75      0.5 to 0.875  0.25     0.0625   0.25        0.125 to 0.375\n"
        "people    0.5       –             –        –        –           –\n"
    )


def test_one_judge_needs_no_table(capsys):
    show({"win_rate": 0.75, "judges": {"chrf": SCORED}})
    assert capsys.readouterr().out == "win rate  0.75\n"

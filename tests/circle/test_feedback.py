"""Pairs of a round: whose taste, and whose answers weigh how much."""

import json
from dataclasses import replace

import pytest

from likelier.asking.strategies import Strategy
from likelier.circle import Round, make_pairs, run_circle
from likelier.circle.feedback import choose_strategy, list_pair_inputs, open_store
from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.feedback.check import check
from likelier.feedback.taste_report import TasteGroup, Tastes
from likelier.files import write_json
from likelier.preferences.balance import Balance
from likelier.records import Comparison, Judgement, Prompt, Response, read_preferences


def judge(tmp_path, **circle):
    """Ann and Bob (two answers each) like the first answers, Cyd (twelve, four on one prompt) the second ones."""
    config = build_config({"circle": circle})
    circle_round = Round(config, tmp_path / "round-1", str(tmp_path / "feedback.db"), "m", tmp_path / "p")
    circle_round.folder.mkdir()
    with open_store(circle_round, create=True) as store:
        for number in range(16):
            prompt = Prompt(f"Once {min(number, 12)}")
            first, second = (Response(prompt.id, f"{text} {number}") for text in ("yes", "no"))
            pair = Comparison(prompt.id, first.id, second.id)
            store.add_prompts([prompt])
            store.add_responses([first, second])
            store.add_comparisons([pair])
            person = "Ann" if number < 2 else "Bob" if number < 4 else "Cyd"
            choice = "right" if person == "Cyd" else "left"
            store.add_judgement(Judgement(pair.id, person, first.id, second.id, choice, duration_seconds=5.0))
        findings = check(store.judged(), {})
    groups = (TasteGroup(("Ann", "Bob"), 0.7), TasteGroup(("Cyd",), 0.3))
    return circle_round, replace(
        findings, tastes=Tastes(2, "found", groups=groups, disagreement=0.9, correlation=0.0, gain=9.0, z=4.0)
    ).to_json()


def read_pairs(circle_round, checked):
    make_pairs(circle_round, checked)
    folder = circle_round.folder / "preferences"
    return [each for part in ("train", "valid", "test") for each in read_preferences(folder / f"{part}.jsonl")]


def test_a_circle_may_learn_the_taste_of_the_majority_alone(tmp_path):
    pairs = read_pairs(*judge(tmp_path, taste="majority"))
    assert {pair.annotator for pair in pairs} == {"Ann", "Bob"}


@pytest.mark.parametrize(
    ("dials", "total"),
    [
        ({"balance_people": 0.0}, 12.0),
        ({"balance_people": 1.0}, 16 / 3),
        ({"balance_people": 0.0, "balance_groups": 1.0}, 8.0),  # of two groups
        ({"balance_people": 0.0, "balance_prompts": 1.0}, 9 * 16 / 13),  # nine of thirteen prompts
    ],
)
def test_every_person_group_and_prompt_may_count_alike(tmp_path, dials, total):
    pairs = read_pairs(*judge(tmp_path, **dials))
    assert sum(pair.weight for pair in pairs if pair.annotator == "Cyd") == pytest.approx(total, rel=1e-3)


def test_topics_are_balanced_too(tmp_path, monkeypatch):
    circle_round, checked = judge(tmp_path, balance_topics=0.25)
    balances = []
    monkeypatch.setattr(
        "likelier.preferences.make.make_preferences", lambda *_, balance, **__: balances.append(balance) or {}
    )
    make_pairs(circle_round, checked)
    assert balances == [Balance(0.5, 0.0, 0.0, 0.25)]


def offer(folder, numbers):
    """Write the candidates of a round: the answers to some of the sixteen prompts."""
    (folder / "candidates").mkdir(parents=True)
    lines = [
        {"record": "responses", "prompt": f"Once {min(at, 12)}", "responses": [f"yes {at}", f"no {at}"]}
        for at in numbers
    ]
    (folder / "candidates" / "candidates.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_answers_of_earlier_rounds_may_fade(tmp_path):
    """Ann's were there before the circle, Bob's are of round 1, Cyd's of round 2: 1/4, 1/2 and 1, of mean 1."""
    circle_round, checked = judge(tmp_path, balance_people=0.0, half_life=1.0)
    offer(tmp_path / "round-1", (2, 3))
    offer(tmp_path / "round-2", range(4, 16))
    pairs = read_pairs(replace(circle_round, folder=tmp_path / "round-2"), checked)
    unit = 16 / (2 / 4 + 2 / 2 + 12)
    assert {pair.annotator: pair.weight for pair in pairs} == pytest.approx(
        {"Ann": unit / 4, "Bob": unit / 2, "Cyd": unit}, rel=1e-5
    )
    card = json.loads((tmp_path / "round-2" / "preferences" / "card.json").read_text())
    assert card["settings"]["half_life"] == "1 rounds"


def test_answers_of_the_last_round_alone_are_of_one_age():
    with pytest.raises(ConfigError, match="half_life would have no effect: judgements of the last round alone"):
        build_config({"circle": {"learn_from": "last", "half_life": 2.0}})


def test_groups_need_the_check():
    with pytest.raises(ConfigError, match="circle: taste would have no effect: only the check tells groups"):
        build_config({"circle": {"check_feedback": False, "taste": "majority"}})


def test_a_circle_begun_before_these_settings_keeps_its_keys(tmp_path):
    def list_inputs(turn, **circle):
        return list_pair_inputs(
            Round(build_config({"circle": circle}), tmp_path / f"round-{turn}", "f.db", "m", tmp_path)
        )

    assert list_inputs(2, balance_groups=0.0) == [True]
    changed = {"learn_from": "last", "taste": "majority", "balance_people": 1.0}
    expected = [True, "last", {"taste": "majority", "balance_people": 1.0}]
    assert list_inputs(2, **changed) == expected
    write_json(tmp_path / "round-1" / "preferences.json", {"train": 5})  # as before a round followed a taste
    assert list_inputs(2, **changed) == expected


def test_a_later_round_learns_the_taste_of_the_first_though_its_group_is_the_smaller_now(tmp_path, capsys):
    first, checked = judge(tmp_path, taste="majority")
    write_json(tmp_path / "round-1" / "preferences.json", made := make_pairs(first, checked))
    assert made["followed_taste"]["members"] == ("Ann", "Bob")
    second = replace(first, folder=tmp_path / "round-2")
    groups = [{"members": ["Cyd", "Dan", "Eve"], "share": 0.6}, {"members": ["Ann", "Bob"], "share": 0.4}]
    checked["tastes"]["groups"] = [group | {"likes": [], "dislikes": []} for group in groups]
    assert {pair.annotator for pair in read_pairs(second, checked)} == {"Ann", "Bob"}
    line = (
        "round-2: This round learns the same taste as the one before, now of 2 people, not the largest group any more."
    )
    assert line in capsys.readouterr().err
    assert list_pair_inputs(second)[-2:] == [("Ann", "Bob"), ("Cyd",)]


def make_reward_run(folder, num_models):
    for number in range(num_models):
        (folder / f"model-{number}").mkdir(parents=True)
        (folder / f"model-{number}" / "config.json").write_text("{}")
    (folder / "result.json").write_text("{}")


def test_a_round_asks_by_the_reward_model_of_the_round_before(tmp_path, capsys):
    settings = {"circle": {"ask": "d_optimality:0.3"}}
    first, second = (
        Round(build_config(settings), tmp_path / f"round-{turn}", "f.db", "m", tmp_path / "p") for turn in (1, 2)
    )
    assert choose_strategy(first) == Strategy()
    assert "circle.ask d_optimality: there is no reward model yet; this round asks at random" in capsys.readouterr().err
    make_reward_run(first.folder / "reward", 1)
    assert choose_strategy(second) == Strategy("d_optimality", 0.3, str(first.folder / "reward"))
    assert choose_strategy(replace(first, config=build_config({"circle": {"ask": "entropy"}}))) == Strategy("entropy")


def test_strategies_that_a_circle_cannot_use_are_refused_at_its_start(tmp_path):
    def run(ask, **block):
        run_circle(build_config({"model": "m", "prompts": "p.jsonl", "circle": {"ask": ask}, **block}), tmp_path)

    with pytest.raises(ConfigError, match=r"circle\.ask entropi: no such strategy; did you mean entropy\?"):
        run("entropi")
    with pytest.raises(ConfigError, match=r"circle\.ask disagreement: one model cannot disagree; set reward_model"):
        run("disagreement")

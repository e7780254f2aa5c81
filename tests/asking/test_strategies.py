"""Strategies as the command line gives them, and what is refused."""

import pytest

from likelier.asking.strategies import NAMES, Strategy, read_strategy
from likelier.errors import ConfigError


def make_run(folder, models):
    for number in range(models):
        (folder / ("model" if number == 0 else f"model-{number}")).mkdir(parents=True)
    return str(folder)


def test_a_name_alone_has_the_usual_floor():
    assert read_strategy("entropy") == Strategy("entropy", 0.2)
    assert read_strategy("entropy:0.5") == Strategy("entropy", 0.5)


def test_only_what_asks_new_ones_first_changes_the_order_and_chance_draws_all():
    assert Strategy("least_judged").begins_with.started_first is False
    assert Strategy("least_judged").begins_with.floor == 1.0
    assert Strategy("entropy", 0.3).begins_with.started_first is True
    assert Strategy("entropy", 0.3).begins_with.floor == 0.3
    assert [name for name in NAMES if Strategy(name).has_weights] == ["entropy", "disagreement", "d_optimality"]


def test_a_reward_run_has_as_many_models_as_the_strategy_needs(tmp_path):
    one, three = make_run(tmp_path / "one", 1), make_run(tmp_path / "three", 3)
    assert read_strategy("d_optimality", one) == Strategy("d_optimality", 0.2, one)
    assert read_strategy("disagreement:1", three) == Strategy("disagreement", 1.0, three)
    with pytest.raises(ConfigError, match=r"one: has one model, .* reward_model.ensemble_size=3"):
        read_strategy("disagreement", one)
    (tmp_path / "one" / "model" / "heads.safetensors").touch()
    assert read_strategy("disagreement", one).reward == one


@pytest.mark.parametrize(
    ("text", "reward", "message"),
    [
        ("entropi", "", "--ask entropi: no such strategy; did you mean entropy?"),
        ("x", "", "--ask x: no such strategy; there is random, least_judged, entropy, disagreement, d_optimality"),
        ("random:0.3", "", "--ask random:0.3: random asks by chance alone; leave :0.3 out"),
        ("entropy:0", "", "--ask entropy:0: the share asked at random must be above 0"),
        ("entropy:nan", "", "--ask entropy:nan: the share"),
        ("entropy:", "", "--ask entropy:: the share"),
        ("d_optimality", "", "--ask d_optimality: needs the folder of a reward run; give --reward DIR"),
        ("d_optimality", "nowhere", "--reward nowhere: no reward run there"),
        ("entropy", "run", "--reward run: --ask entropy needs no reward run; leave it out"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(text, reward, message):
    with pytest.raises(ConfigError) as error:
        read_strategy(text, reward)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)

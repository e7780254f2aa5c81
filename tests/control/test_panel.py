"""What a policy sees, expects and does, under the frames of its GIF."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image, ImageColor

from likelier.config import GymConfig
from likelier.control import evaluate
from likelier.control.distributions import Categorical, Gaussian, Mixed, MultiCategorical
from likelier.control.envs import Spaces
from likelier.control.nets import ActorCritic
from likelier.control.panel import CHOSEN, FILL, GROUND, Glance, Panel, glance_at
from likelier.control.spaces import make_action_decoder, make_observation_encoder
from likelier.control.watchdog import Watchdog
from likelier.training.setup import seeded_generator

WIDTH = 300
NUMBERS = spaces.Box(-1.0, 1.0, (3,))


def make_panel(actions, distribution, env_id="CartPole-v1", observations=NUMBERS, frame_stack=1):
    encoder = make_observation_encoder(observations, frame_stack, "test")
    policy = SimpleNamespace(distribution=distribution)
    return Panel(policy, encoder, make_action_decoder(actions, "test"), env_id, WIDTH)


def glance(outputs, action, observation=(0.1, -0.2, 0.3), value=1.0):
    return Glance(np.array(observation), value, np.array(outputs, np.float32), np.array(action))


def count(picture, colour):
    """Pixels of a colour in each row that has some, from the top."""
    rows = (np.array(picture) == ImageColor.getrgb(colour)).all(2).sum(1)
    return rows[rows > 0].tolist()


def test_bars_are_as_long_as_actions_are_likely():
    panel = make_panel(spaces.Discrete(2), Categorical(2))
    glances = [glance([math.log(0.75), math.log(0.25)], [0])] * 2
    picture = panel.draw(glances, 0)
    assert picture.size == (WIDTH, picture.height)
    full = WIDTH - 8 - 34 - WIDTH // 3
    assert max(count(picture, CHOSEN)) == pytest.approx(0.75 * full, abs=2)
    assert count(picture, FILL)[-1] == pytest.approx(0.25 * full, abs=2)


def test_the_curve_of_values_marks_the_step():
    panel = make_panel(spaces.Discrete(2), Categorical(2))
    glances = [glance([0.0, 0.0], [0], value=value) for value in (0.0, 5.0, -5.0)]
    first, last = (np.array(panel.draw(glances, place)) for place in (0, 2))
    marks = [(picture == ImageColor.getrgb(CHOSEN)).all(2) for picture in (first, last)]
    columns = [np.flatnonzero(mark[: first.shape[0] - 40].any(0)) for mark in marks]
    assert columns[0].mean() == pytest.approx(WIDTH // 3, abs=1)
    assert columns[1].mean() == pytest.approx(WIDTH - 8, abs=1)


@pytest.mark.parametrize(
    ("actions", "distribution", "outputs", "action"),
    [
        (spaces.Discrete(18), Categorical(18), [0.0] * 18, [17]),
        (spaces.MultiDiscrete([3, 2]), MultiCategorical((3, 2)), [0.0] * 5, [2, 1]),
        (spaces.Box(-2.0, 2.0, (2,)), Gaussian(2, -0.5, False), [0.3, 9.0], [0.3, 9.0]),
        (spaces.Box(-np.inf, np.inf, (9,)), Gaussian(9, -0.5, True), [0.0] * 18, [0.0] * 9),
        (
            spaces.Tuple((spaces.Discrete(3), spaces.Box(-2.0, 2.0, (2,)))),
            Mixed(Gaussian(2, -0.5, False), MultiCategorical((3,))),
            [0.3, 9.0, 0.0, 0.0, 0.0],
            [0.3, 9.0, 2.0],
        ),
    ],
)
def test_every_kind_of_action_is_drawn(actions, distribution, outputs, action):
    picture = make_panel(actions, distribution, "unknown").draw([glance(outputs, action)], 0)
    assert count(picture, CHOSEN)
    assert count(picture, FILL)


def test_long_observations_are_cut_and_pictures_are_small():
    plain = make_panel(spaces.Discrete(2), Categorical(2)).draw([glance([0.0, 0.0], [0])], 0)
    long = make_panel(spaces.Discrete(2), Categorical(2)).draw([glance([0.0, 0.0], [0], range(100))], 0)
    assert long.height == plain.height + 2 * 15
    images = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    panel = make_panel(spaces.Discrete(2), Categorical(2), observations=images, frame_stack=2)
    seen = np.zeros((6, 40, 40), np.uint8)
    seen[3:] = np.array([255, 0, 0])[:, None, None]  # the newer of two frames is red
    picture = panel.draw([glance([0.0, 0.0], [0], seen)], 0)
    assert sum(count(picture, "#ff0000")) == 40 * 40


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_glance_is_what_the_policy_acts_on(recurrent):
    config = GymConfig(env_id="CartPole-v1", recurrent=recurrent)
    encoder = make_observation_encoder(NUMBERS, 1, "test")
    both = Spaces(encoder, make_action_decoder(spaces.Discrete(4), "test"))
    policy = ActorCritic(both, config, seeded_generator(0, 0, "weights"))
    act, state = policy.actor(), policy.initial_state(1)
    for observation in np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32):
        before = state
        action, state = act(observation[None], None, before)
        seen = glance_at(policy, observation, observation[None], before, action)
        assert seen.outputs.argmax() == action[0, 0]
        assert seen.outputs.shape == (4,)
        assert seen.action.tolist() == action[0].tolist()


def test_the_gif_shows_every_step(tmp_path):
    config = GymConfig(env_id="CartPole-v1")
    with Watchdog(60) as watchdog:
        env = evaluate.SubEnv(config, 0, 0, "gif", watchdog)
        policy = ActorCritic(env.spaces, config, seeded_generator(0, 0, "weights"))
        frames, glances, _, _ = evaluate.record_episode(policy, lambda x: x, config, 0, watchdog)
        assert len(frames) == len(glances) > 5
        assert glances[0].observation.tolist() == env.reset().tolist()
        assert evaluate.draw_gif(policy, lambda x: x, config, 0, watchdog, tmp_path / "a.gif") is None
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == len(frames)
        assert picture.size[0] == WIDTH
        assert picture.size[1] > 200 + 100  # the frame, and what stands below it
        assert picture.convert("RGB").getpixel((2, picture.size[1] - 2)) == ImageColor.getrgb(GROUND)

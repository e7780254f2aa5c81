"""The LSTM: unrolled against a loop by hand that masks its state, carried over rollouts, handed on by a saved agent."""

from pathlib import Path

import numpy as np
import pytest
import torch

from likelier.config import build_config
from likelier.control.agent import load_agent
from likelier.control.envs import VectorEnv
from likelier.control.evaluate import play_episodes
from likelier.control.recurrent import Memory, sigmoid
from likelier.control.rollout import sample_rollout
from likelier.control.train import State, train_gym
from likelier.control.watchdog import Watchdog
from likelier.errors import ConfigError
from likelier.ppo.advantages import gae
from likelier.runs.run import Run
from likelier.training.setup import Clock, seeded_generator

BROKEN_ENVS = str(Path(__file__).parents[1] / "broken_envs.py")
SMALL = {"num_envs": 2, "rollout_length": 8, "num_mini_batches": 2, "total_steps": 64, "num_eval_episodes": 2}
SMALL |= {"recurrent": True, "lstm_size": 4, "gif": False, "whiten_advantages": False, "normalize_rewards": False}


def memory():
    made = Memory(3, 4)
    draw = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, generator=draw)
    return made


def unroll_by_hand(lstm, features, starts, state):
    """The equations of an LSTM, one step after the other, with the state times 0 where an episode starts."""
    hidden, cell = state.split(4, -1)
    seen = []
    for t in range(features.shape[1]):
        carried = 1.0 - starts[:, t, None].float()
        hidden, cell = hidden * carried, cell * carried
        gates = features[:, t] @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + hidden @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
        i, f, g, o = gates.split(4, -1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        seen.append(hidden)
    return torch.stack(seen, 1)


def test_unrolled_by_hand_with_starts_of_episodes_and_the_same_gradients():
    draw, own = torch.Generator().manual_seed(1), memory()
    features, state = torch.randn(3, 6, 3, generator=draw), torch.randn(3, 8, generator=draw)
    starts = torch.tensor([[0, 0, 1, 0, 0, 1], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    results = []
    for unroll in (own.unroll, lambda *inputs: unroll_by_hand(own.lstm, *inputs)):
        inputs = features.clone().requires_grad_()
        seen = unroll(inputs, starts, state)
        own.zero_grad()
        (seen.square().sum() + seen[0, -1, 0]).backward()
        results.append([seen.detach(), inputs.grad, *(each.grad.clone() for each in own.parameters())])
    for ours, by_hand in zip(*results, strict=True):
        torch.testing.assert_close(ours, by_hand, rtol=1e-5, atol=1e-6)


def test_nothing_before_a_start_reaches_what_follows():
    own, features = memory(), torch.randn(1, 4, 3)
    starts = torch.tensor([[False, False, True, False]])
    state = torch.zeros(1, 8, requires_grad=True)
    inputs = features.clone().requires_grad_()
    own.unroll(inputs, starts, state)[0, 2:].sum().backward()
    assert inputs.grad[0, :2].abs().sum() == state.grad.abs().sum() == 0.0
    assert inputs.grad[0, 2:].abs().min() > 0.0


def test_a_step_in_numpy_is_a_step_of_the_network():
    own, draw = memory(), np.random.default_rng(0)
    features, state = draw.normal(size=(2, 3)).astype(np.float32), draw.normal(size=(2, 8)).astype(np.float32)
    new = own.step()(features, state)
    inputs = torch.from_numpy(features), torch.from_numpy(state)
    wanted = own.unroll(inputs[0][:, None], torch.zeros(2, 1, dtype=torch.bool), inputs[1])[:, 0]
    np.testing.assert_allclose(new[:, :4], wanted.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0.0, 0.5, 1.0]


def rollouts(gym, num):
    with Watchdog(60) as watchdog, VectorEnv(gym, 0, watchdog) as vector_env:
        state = State(vector_env, gym, 0, torch.device("cpu"), Path())
        state.load(None)
        draws = (seeded_generator(0, step, "gym") for step in range(num))
        return state, [sample_rollout(state.policy, state.env_state, gym, draw, Clock()) for draw in draws]


def test_the_state_goes_from_rollout_to_rollout_and_ends_with_the_episode():
    """Sound ends after 5 steps: the second rollout of 8 begins 3 steps into an episode."""
    gym = build_config({"gym": SMALL | {"env_id": f"{BROKEN_ENVS}:Sound"}}).gym
    state, (first, second) = rollouts(gym, 2)
    assert first.mask.shape == (2, 8)  # a row is an environment
    assert first.inputs["starts"].tolist() == [[t == 5 for t in range(8)]] * 2
    assert first.inputs["state"].abs().sum() == 0.0
    assert second.inputs["starts"].tolist() == [[t in (2, 7) for t in range(8)]] * 2
    # By hand: the three steps since the last episode ended, from the state 0.
    seen = unroll_by_hand(
        state.policy.memory.lstm, first.inputs["observations"][:, 5:], torch.zeros(2, 3), torch.zeros(2, 8)
    )
    torch.testing.assert_close(second.inputs["state"][:, :4], seen[:, -1], rtol=1e-5, atol=1e-6)


def test_a_truncated_episode_is_worth_what_its_last_observation_is_after_all_before_it():
    """Both values are of the same unrolled sequence; the one after the last step is cut off by GAE's bootstrap."""
    settings = {"env_id": "CartPole-v1", "max_episode_steps": 4, "normalize_observations": False, "lam": 0.0}
    gym = build_config({"gym": SMALL | settings | {"rollout_length": 6}}).gym
    state, (batch,) = rollouts(gym, 1)
    policy, final = state.policy, {}
    env_state = state.env_state
    with Watchdog(60) as watchdog, VectorEnv(gym, 0, watchdog) as again:
        again.reset()
        for t in range(4):
            final = again.step(batch.actions[:, t].numpy()).final
    last = torch.from_numpy(np.stack([final[0], final[1]]))
    whole = torch.cat([batch.inputs["observations"][:, :4], last[:, None]], 1)
    no_start = torch.zeros(2, 5, dtype=torch.bool)
    values = policy.forward(policy.memory.unroll(whole, no_start, torch.zeros(2, 8)).flatten(0, 1))[1].view(2, 5)
    torch.testing.assert_close(batch.old_values[:, :4], values[:, :4].detach(), rtol=1e-4, atol=1e-6)
    wanted = gae(torch.ones(2, 4), values[:, :4], values[:, 1:], torch.ones(2, 4), 0.99, 0.0)[1]
    torch.testing.assert_close(batch.returns[:, :4], wanted.detach(), rtol=1e-4, atol=1e-6)
    assert env_state.memories.states.shape == (2, 8)


def test_a_saved_agent_hands_its_state_on_and_plays_as_in_evaluation(tmp_path):
    config = build_config({"gym": SMALL | {"env_id": "CartPole-v1", "num_eval_episodes": 1}})
    with Run(tmp_path, "gym", config) as run:
        train_gym(config, run)
    agent = load_agent(tmp_path / "model")
    with Watchdog(60) as watchdog, VectorEnv(config.gym, 0, watchdog, "evaluate") as envs:
        played = play_episodes(agent.policy, agent.moments.normalize, config.gym, 0, watchdog, False)
        envs.reset()
        env, total, ended, state = envs.envs[0], 0.0, False, None
        observation, states = envs.observations[0], []
        while not ended:
            action, state = agent.predict(observation, state=state)
            states.append(state)
            observation, reward, terminated, truncated = env.step(action)
            total, ended = total + reward, terminated or truncated
    assert played == [total]
    assert not np.array_equal(states[0], states[1])
    with pytest.raises(ConfigError, match="this policy is recurrent; call predict, and hand its state on"):
        agent(observation)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="recurrent: num_envs 6 is not a multiple of num_mini_batches 4"):
        build_config({"gym": {"recurrent": True, "num_envs": 6}})
    with pytest.raises(ConfigError, match="lstm_size would have no effect: it belongs to recurrent"):
        build_config({"gym": {"lstm_size": 32}})
    assert build_config({"gym": {"recurrent": True}}).gym.num_mini_batches == 4
    assert build_config({"gym": {"recurrent": True, "num_mini_batches": 8}}).gym.num_mini_batches == 8

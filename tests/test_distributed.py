"""Several processes find what one finds: real ones, each with its share of the rows, met over Gloo."""

import math
import os
import signal
from datetime import timedelta

import pytest
import torch

from batches import batch_of
from likelier.config import PPOConfig, RewardSource, UpdateConfig
from likelier.distributed import (
    LostProcess,
    agree_on_name,
    all_gather_rows,
    all_reduce_gradients,
    all_reduce_max,
    all_reduce_sum,
    broadcast,
    broadcast_text,
    get_rank,
    get_world_size,
    process_group,
    shard,
)
from likelier.errors import ConfigError
from likelier.ppo.batch import Batch
from likelier.ppo.kl import KLTerm
from likelier.ppo.objective import PPOLoss
from likelier.ppo.policy import evaluate_old_policy
from likelier.ppo.update import accumulate_gradients, ppo_update
from likelier.ppo.user_loss import UserLoss
from likelier.records import Prompt
from likelier.reward.sources import make_scorer
from likelier.rlhf.rollout import Actors
from likelier.rlhf.scores import Shaper
from likelier.rlhf.setup import check_processes
from likelier.text.exact_sampler import ExactSampler
from likelier.text.models import load_causal_lm, load_tokenizer, make_frozen_copy, save_model
from likelier.text.policy import TextPolicy
from likelier.text.reward_model import new_reward_model
from likelier.training.guard import Guard
from likelier.training.setup import seeded_generator
from samplers import sample_rollouts
from small_policy import Net, experience, weights_of
from tiny import save_tiny_model
from torchrun_helpers import in_processes


def test_alone_nothing_happens():
    x = torch.tensor([1.0, 2.0])
    assert (get_rank(), get_world_size()) == (0, 1)
    assert shard(5) == slice(0, None, 1)
    assert all_gather_rows(x, 2) is x
    assert all_reduce_sum(x) is x
    assert broadcast(lambda: x, 2) is x
    assert (broadcast_text("é"), all_reduce_max(3)) == ("é", 3)


def speak():
    """All that processes tell one another, of five rows."""
    rank, size = get_rank(), get_world_size()
    rows = torch.tensor([[0.1, -0.0], [math.inf, 1e-40], [math.nan, 2.0], [3.0, -math.inf], [5.0, 7.0]])
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    other = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.full((2, 2), float(rank + 1))
    all_reduce_gradients([weight, other])
    return {
        "world": (rank, size),
        "share": list(range(5))[shard(5)],
        "share of one": list(range(1))[shard(1)],
        "gathered": all_gather_rows(rows[shard(5)], 5).tolist(),
        "counts": all_gather_rows(torch.arange(5)[shard(5)] * 10, 5).tolist(),
        "gathered one": all_gather_rows(rows[:1][shard(1)], 1).tolist(),
        "summed": all_reduce_sum(torch.tensor([1.0, float(rank)])).tolist(),
        "gradients": weight.grad.tolist(),
        "untouched": other.grad,
        "first": broadcast(lambda: torch.tensor([[float(rank), 2.0]]), 1, 2).tolist(),
        "text": broadcast_text(f"ä/{rank}" if rank else "ä/first, 一"),
        "nothing": broadcast_text("" if rank == 0 else "x"),
        "largest": all_reduce_max(rank * 15),
    }


@pytest.mark.parametrize("size", [2, 3])
def test_what_processes_tell_one_another(size):
    told = in_processes(size, speak)
    assert [each["world"] for each in told] == [(rank, size) for rank in range(size)]
    assert [each["share"] for each in told] == {2: [[0, 2, 4], [1, 3]], 3: [[0, 3], [1, 4], [2]]}[size]
    for each in told:
        assert each["share of one"] == [0]
        expected = [[0.1, 0.0], [math.inf, 1e-40], [math.nan, 2.0], [3.0, -math.inf], [5.0, 7.0]]
        assert torch.equal(torch.tensor(each["gathered"]).nan_to_num(99.0), torch.tensor(expected).nan_to_num(99.0))
        assert each["counts"] == [0, 10, 20, 30, 40]
        assert each["gathered one"] == [[torch.tensor(0.1).item(), -0.0]]
        assert each["summed"] == {2: [2.0, 1.0], 3: [3.0, 3.0]}[size]
        assert each["gradients"] == {2: [[3.0, 3.0]] * 2, 3: [[6.0, 6.0]] * 2}[size]
        assert each["untouched"] is None
        assert each["first"] == [[0.0, 2.0]]
        assert (each["text"], each["nothing"]) == ("ä/first, 一", "")
        assert each["largest"] == {2: 15, 3: 30}[size]


CUTS = [
    {"loss_aggregation": how, "micro_batch_size": size, "num_mini_batches": parts, "entropy_coef": 0.1}
    for how in ("token", "sequence", "fixed")
    for size, parts in ((None, 2), (1, 3), (3, 1))
]


def own_loss(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
    """A user's, token by token."""
    return -advantages * (logprobs - old_logprobs).exp() + kl_coef * (logprobs - ref_logprobs).square()


PENALTY = PPOLoss(KLTerm(0.5, "k2", "token", ratio=True))
OWN = PPOLoss(user_loss=UserLoss("a test", own_loss, 0.5))


def updated(settings, dtype=torch.float64, target_kl=None, objective=PENALTY):
    """Weights and metrics after an update of 17 rows of which some are padded with NaN."""
    config = UpdateConfig(**settings, num_ppo_epochs=2, target_kl=target_kl)
    net = Net(dtype=dtype)
    batch = experience(net, rows=17, config=config, dtype=dtype)
    ref = torch.where(batch.mask, batch.old_logprobs + batch.advantages / 3, math.nan)
    batch = Batch(**{**vars(batch), "ref_logprobs": ref})
    optimizer, draw = torch.optim.AdamW(net.parameters(), lr=1e-2), torch.Generator().manual_seed(2)
    stats = ppo_update(net, optimizer, batch, config, draw, Guard(3), objective)
    return weights_of(net).tolist(), stats


def all_updated():
    stopped = updated({"num_mini_batches": 3}, target_kl=1e-4)
    return [updated(settings) for settings in CUTS] + [updated(CUTS[2], objective=OWN), stopped]


@pytest.mark.parametrize("size", [2, 3])
def test_weights_and_metrics_of_an_update_do_not_depend_on_the_number_of_processes(size):
    alone, together = all_updated(), in_processes(size, all_updated)
    assert alone[-1][1]["optimizer_steps"] < 6  # target_kl ended it, in all processes at the same step
    for of_one in together:
        assert repr(of_one) == repr(together[0])  # the same bits in each, NaN too
        for (weights, stats), (weights_alone, stats_alone) in zip(of_one, alone, strict=True):
            assert weights == pytest.approx(weights_alone, abs=1e-10)
            assert stats == pytest.approx(stats_alone, abs=1e-10, nan_ok=True)
            assert stats["first_ratio_deviation"] == 0.0


def not_finite():
    """An update whose second minibatch holds an advantage that is not a number, in one row of one process."""
    config = UpdateConfig(num_ppo_epochs=1, num_mini_batches=2)
    net = Net(dtype=torch.float64)
    batch = experience(net, rows=8, config=config, dtype=torch.float64)
    batch.advantages[5, 0] = math.nan
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
    stats = ppo_update(net, optimizer, batch, config, torch.Generator(), Guard(3))
    return weights_of(net).tolist(), stats["optimizer_steps"], stats["skipped_updates"]


def test_all_processes_pass_over_a_minibatch_that_is_not_finite_in_one():
    alone, (first, second) = not_finite(), in_processes(2, not_finite)
    assert alone[1:] == first[1:] == (1.0, 1.0)
    assert first == second
    assert first[0] == pytest.approx(alone[0], abs=1e-10)


REWARDS = """
def rank(prompts, responses):
    order = sorted(range(len(responses)), key=lambda at: (responses[at], prompts[at]))
    return [float(order.index(at)) for at in range(len(order))]

def letters(prompts, responses, tokens):
    return [[float(piece == "a") for piece in row] for row in tokens]
"""


def actors_of(folder, dtype):
    """A policy with a critic, a reward that compares the responses of a whole batch, and one for each token."""
    (folder / "rewards.py").write_text(REWARDS)
    of = [{"function": f"{folder}/rewards.py:rank", "weight": 0.1}]
    of += [{"function": f"{folder}/rewards.py:letters", "per": "token"}]
    model = load_causal_lm(folder).to(dtype)
    scorer, policy = make_scorer([RewardSource(**source) for source in of]), TextPolicy.build(model, "shared")
    tokenizer = load_tokenizer(folder)
    sampler = ExactSampler(model, tokenizer)
    return Actors(policy, make_frozen_copy(model), tokenizer, sampler, scorer, Shaper(PPOConfig()))


SETTINGS = {"batch_size": 10, "num_mini_batches": 2, "response_length": 6, "whiten_rewards": True, "kl_coef": 0.1}


def rolled_out(folder, dtype, num_prompts=10):
    """What a step samples, and what the update is given."""
    config = PPOConfig(**{**SETTINGS, "batch_size": num_prompts})
    actors, prompts = (
        actors_of(folder, dtype),
        ["a", "b a b", "a a", "b", "a b a b a", "b b", "a", "b a", "a b", "b b b"],
    )
    draw = seeded_generator(0, 0, "ppo")
    rollout = sample_rollouts(actors, [Prompt(text) for text in prompts[:num_prompts]], config, 0.1, draw)
    batch = rollout.batch
    numbers = [batch.old_logprobs, batch.old_values, batch.advantages, batch.returns, rollout.scored.scores]
    return rollout.samples.texts, batch.actions.tolist(), [each.flatten().tolist() for each in numbers], rollout.stats()


@pytest.mark.parametrize("num_prompts", [10, 2])
def test_a_rollout_is_whitened_over_the_whole_batch(tmp_path, num_prompts):
    save_tiny_model(tmp_path, words=["a", "b"])
    texts, tokens, numbers, stats = rolled_out(tmp_path, torch.float64, num_prompts)
    for found in in_processes(3, rolled_out, tmp_path, torch.float64, num_prompts):
        assert (found[0], found[1]) == (texts, tokens)
        for part, alone in zip(found[2], numbers, strict=True):
            assert part == pytest.approx(alone, abs=1e-10)
        assert found[3] == {name: pytest.approx(value, abs=1e-10) for name, value in stats.items()}


def gradients_of_shared(folder, dtype):
    """Loss, gradient and what the policy says of 16 real stories, in float64 or float32."""
    model, tokenizer = load_causal_lm(folder).to(dtype), load_tokenizer(folder)
    policy, draw = TextPolicy.build(model, "shared"), torch.Generator().manual_seed(0)
    texts = [
        f"Once upon a time, {name} had a {thing}."
        for name in ("Lily", "Tom", "Sue", "Ben")
        for thing in ("dog", "big red ball", "cat", "boat")
    ]
    prompts = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    mask = torch.arange(12) < torch.randint(1, 13, (16, 1), generator=draw)
    actions = torch.randint(5, len(tokenizer), (16, 12), generator=draw)
    inputs = {"prompt_tokens": prompts["input_ids"], "prompt_mask": prompts["attention_mask"].bool()}
    advantages, returns = (torch.randn(16, 12, generator=draw, dtype=torch.float64).to(dtype) * mask for _ in range(2))
    config = UpdateConfig(num_mini_batches=1, micro_batch_size=5, entropy_coef=0.01)
    logprobs, values, _ = evaluate_old_policy(policy, inputs, actions, mask, config)
    batch = Batch(inputs, actions, mask, logprobs, values, advantages, returns)
    new, found = accumulate_gradients(policy, batch, config)
    parameters = [parameter for parameter in policy.parameters() if parameter.grad is not None]
    all_reduce_gradients(parameters)
    gradient = torch.cat([parameter.grad.flatten() for parameter in parameters])
    return gradient.tolist(), new.logprobs.flatten().tolist(), {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("name", ["stories260K", "stories-char-940K"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), pytest.param(torch.float32, 1e-4, marks=pytest.mark.battery)]
)
def test_gradients_of_real_models_do_not_depend_on_the_number_of_processes(shared, name, dtype, tolerance):
    alone = gradients_of_shared(shared / "models" / name, dtype)
    for together in in_processes(2, gradients_of_shared, shared / "models" / name, dtype):
        scale = max(map(abs, alone[0]))
        assert together[0] == pytest.approx(alone[0], abs=tolerance * max(1.0, scale))
        assert together[1] == pytest.approx(alone[1], abs=tolerance)
        assert together[2] == {name: pytest.approx(value, abs=tolerance) for name, value in alone[2].items()}


PROMPTS, RESPONSES = ["a", "b a", "a a b", "b", "a", "b b"], ["b b", "a", "a b a b", "b", "a a", "b a b"]


def scored(folder, num_rows):
    """What a reward model says, of more responses than processes or of fewer."""
    scorer = make_scorer([RewardSource(model=str(folder), weight=2.0)], "cpu")
    return scorer(batch_of(PROMPTS[:num_rows], RESPONSES[:num_rows])).tolist()


@pytest.mark.parametrize("num_rows", [6, 2])
def test_a_reward_model_scores_the_same(tmp_path, num_rows):
    base = save_tiny_model(tmp_path / "base", words=["a", "b"])
    judge = new_reward_model(base, generator=torch.Generator().manual_seed(0))
    save_model(tmp_path / "reward", judge.model, judge.tokenizer, "a test's")
    alone = scored(tmp_path / "reward", num_rows)
    assert len(set(alone)) == num_rows
    for together in in_processes(3, scored, tmp_path / "reward", num_rows):
        assert together == pytest.approx(alone, abs=1e-6)


def counting(folder):
    """How often a function was called in this process, and what all got."""
    where = folder / f"calls-{get_rank()}"
    os.environ["CALLS"] = str(where)
    scorer = make_scorer([RewardSource(function=f"{folder}/count.py:count")])
    return scorer(batch_of(PROMPTS, RESPONSES)).tolist(), where.read_text() if where.exists() else ""


COUNTING = """
import os

def count(prompts, responses):
    with open(os.environ["CALLS"], "a") as file:
        file.write(f"{len(responses)} ")
    return [1.5] * len(responses)
"""


def test_a_function_is_asked_once_for_the_whole_batch(tmp_path):
    (tmp_path / "count.py").write_text(COUNTING)
    assert in_processes(2, counting, tmp_path) == [([1.5] * 6, "6 "), ([1.5] * 6, "")]


PARTIAL = """
def some(prompts, responses, points):
    return points

def rest(completions, points, log_metric, **columns):
    log_metric("seen", len(completions))
    return [None if value is not None else 7.0 for value in points]
"""


def scored_in_part(folder):
    """The scores of two functions that leave out each other's rows."""
    scorer = make_scorer([RewardSource(function=f"{folder}/partial.py:{name}", name=name) for name in ("some", "rest")])
    judged = scorer.judge(batch_of(PROMPTS, RESPONSES, points=[1.0, None, 3.0, 4.0, None, 6.0]))
    by_source = {name: scores.scored.tolist() for name, scores in judged.by_source.items()}
    return scorer.combine(judged).tolist(), by_source, judged.logged.metrics


def test_what_functions_leave_out_is_known_in_every_process(tmp_path):
    (tmp_path / "partial.py").write_text(PARTIAL)
    mine = [True, False, True, True, False, True]
    expected = [1.0, 7.0, 3.0, 4.0, 7.0, 6.0], {"some": mine, "rest": [not each for each in mine]}
    first, second = in_processes(2, scored_in_part, tmp_path)
    assert first == (*expected, {"seen": 6.0})
    assert second == (*expected, {})


def checked_on(device):
    try:
        check_processes(PPOConfig(), torch.device(device))
    except ConfigError as error:
        return str(error)
    return "fine"


def test_where_processes_cannot_meet():
    assert checked_on("mps") == "fine"
    line = "ppo.device: mps does not serve several processes; set cpu, or use one process"
    assert in_processes(2, checked_on, "mps") == [line, line]
    assert in_processes(2, checked_on, "cuda") == ["fine", "fine"]


def meet_again():
    """Twice in one store, as processes that torchrun has started again, on machines that count differently."""
    sums = []
    for attempt in (0, 1):
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(attempt * int(os.environ["RANK"]))
        with process_group():
            sums.append(float(all_reduce_sum(torch.tensor(get_rank() + 1.0))))
    return sums


def test_processes_that_are_started_again_meet_whatever_torchrun_counts():
    assert in_processes(3, meet_again, meet=False) == [[6.0, 6.0]] * 3


class Silent(dict):
    """A store that nobody else writes to."""

    timeout = timedelta(seconds=0.1)
    check = staticmethod(lambda keys: False)

    def set(self, key, value):
        self[key] = value


@pytest.mark.parametrize("rank", [0, 1])
def test_who_waits_in_vain_for_the_others_says_so(rank):
    with pytest.raises(LostProcess, match=r"^torchrun: not all of 2 processes have come"):
        agree_on_name(Silent(), rank, 2)


def left_alone():
    """The second process dies; what the first one is told."""
    if get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        all_reduce_sum(torch.ones(1))
    except LostProcess as error:
        return str(error)
    return "nothing"


def test_a_process_that_is_lost_is_one_line():
    told, _ = in_processes(2, left_alone)
    assert told.startswith("another process of this run has ended or cannot be reached (")
    assert told.endswith("); go on with --resume auto")
    assert "\n" not in told

"""Theory and training agree on several tables: what is to reach the optimum does, the rest ends where it should."""

import math

import pytest
import torch

from likelier.prove.fixed_points import Table
from likelier.prove.matrix import (
    ALGORITHMS,
    CLEAR,
    NEAR,
    SEQUENCE,
    SHAPES,
    best_of_n,
    best_of_row,
    dpo_row,
    matrix,
    place_of,
    prove,
    random_table,
    settings_of,
    trained_all,
)
from likelier.prove.tabular_lm import TabularLM, kl_divergence

REACH = (
    ("ppo", "k1", "reward"),
    ("ppo", "k2", "loss"),
    ("ppo", "k3", "loss_ratio"),
    ("rloo", "k1", "reward"),
    ("dr_grpo", "k1", "reward"),
    ("reinforce_pp", "k1", "reward"),
)
END_ELSEWHERE = (
    ("ppo", "k2", "reward"),
    ("ppo", "k3", "reward"),
    ("ppo", "k1", "loss"),
    ("ppo", "k3", "loss"),
    ("grpo", "k3", "loss"),
)
SURE = {"optimum", "best response", "reversed", "spread reversed", "length optimum", "length spread reversed"}
"""Fixed points that do not depend on the way there."""


def test_the_matrix_is_whole():
    cells = [(c.algorithm, place_of(c), c.kl_estimator) for c in matrix(random_table(1))]
    assert len(cells) == len(set(cells)) == 5 * 3 * 3 + 2 + 4
    for config in matrix(random_table(1)):
        assert (config.gamma, config.temperature, config.lr_schedule) == (1.0, 1.0, "linear")
        assert config.whiten_advantages is False


@pytest.mark.parametrize("seed", range(6))
def test_drawn_tables_differ_and_can_tell_fixed_points_apart(seed):
    table = random_table(seed)
    model = table.reference
    assert (model.vocabulary, model.length, model.end_token) == SHAPES[seed]
    assert len(table.rewards) == len(model.responses)
    assert torch.equal(table.rewards, random_table(seed).rewards)
    assert not torch.equal(table.reference.logits, random_table(seed + 6).reference.logits)
    assert kl_divergence(table.ref, table.optimum) > CLEAR


def test_larger_tables_get_larger_batches():
    sizes = [
        settings_of(Table(TabularLM(v, t), torch.zeros(v**t), 0.5), "rloo", "k1", "reward").batch_size
        for v, t in ((4, 3), (5, 3), (8, 4))
    ]
    assert sizes == [1024, 2048, 8192]


def test_best_of_n_by_hand():
    # two answers of 1/4 and 3/4, the rare one better: the other wins only if it is drawn twice
    ref, rewards = torch.tensor([0.25, 0.75], dtype=torch.float64).log(), torch.tensor([1.0, 0.0])
    assert best_of_n(ref, rewards, 2).exp().tolist() == pytest.approx([1 - 9 / 16, 9 / 16], abs=1e-12)
    same = torch.tensor([0.0, 0.0])
    assert best_of_n(ref, same, 5).exp().tolist() == pytest.approx([0.25, 0.75], abs=1e-12)


@pytest.mark.parametrize("n", [2, 4, 64])
def test_the_kl_of_best_of_n_is_below_its_bound(n):
    bound = math.log(n) - (n - 1) / n
    few, many = (torch.full((size,), 1 / size, dtype=torch.float64).log() for size in (8, 5000))
    kls = [kl_divergence(best_of_n(ref, torch.arange(len(ref)).double(), n), ref) for ref in (few, many)]
    assert kls[0] < kls[1] <= bound
    assert kls[1] == pytest.approx(bound, abs=0.02)


def test_eight_responses_and_n_64_as_known():
    """log 64 - 63/64 = 3.17 is the bound; with 8 equally likely responses the KL can only be below log 8."""
    ref = torch.full((8,), 1 / 8, dtype=torch.float64).log()
    assert kl_divergence(best_of_n(ref, torch.arange(8.0), 64), ref) < math.log(8) < 3.17


def test_sampled_best_of_n_is_as_enumerated():
    row = best_of_row(random_table(0), seed=0)
    assert row.fixed_point_distance < 0.01
    assert (row.expected, row.reached) == (False, False)


@pytest.mark.slow
def test_dpo_reaches_the_optimum_from_single_judgements():
    row = dpo_row(random_table(1), seed=0)
    assert row.reached
    assert row.holds


def holds(rows):
    for row in rows:
        assert row.reached == row.expected == (row.distance <= NEAR), row
        if row.fixed_point in SURE:
            assert row.fixed_point_distance < 0.05, row
    return True


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_theory_holds_on_other_tables(seed):
    table = random_table(seed)
    rows = prove(table, seed, configs=[settings_of(table, *cell) for cell in (*REACH, *END_ELSEWHERE)])
    assert holds(rows)
    assert [row.expected for row in rows] == [True] * len(REACH) + [False] * len(END_ELSEWHERE)


@pytest.mark.slow
def test_a_mean_of_each_response_keeps_the_optimum_where_the_penalty_is_in_the_reward_alone():
    table = random_table(2)  # responses of one to four tokens
    rows = prove(table, configs=[settings_of(table, *cell, "response", "sequence") for cell in SEQUENCE])
    assert holds(rows)
    assert [row.place for row in rows] == ["reward_sequence"] * 2 + ["loss_sequence"] * 2
    assert [row.expected for row in rows] == [True, True, False, False]
    assert all(row.distance > CLEAR for row in rows[2:])


@pytest.mark.slow
def test_where_all_responses_are_as_long_their_means_change_nothing():
    table = random_table(1)
    (row,) = prove(table, configs=[settings_of(table, "rloo", "k2", "loss", "response", "sequence")])
    assert (row.fixed_point, row.expected, row.reached) == ("length optimum", True, True)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_whole_matrix(algorithm):
    table = random_table(0)
    assert holds(prove(table, configs=[config for config in matrix(table) if config.algorithm == algorithm]))


@pytest.mark.slow
def test_processes_change_nothing():
    table = random_table(1)
    config = settings_of(table, "rloo", "k1", "reward").model_copy(update={"total_episodes": 1024 * 4})
    alone, shared = (list(trained_all(table, [config] * 2, 0, workers)) for workers in (1, 2))
    assert torch.equal(torch.stack(alone), torch.stack(shared))

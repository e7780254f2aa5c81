"""Training ends at its fixed point on several tables: at the optimum where theory says so, elsewhere otherwise."""

import math

import pytest
import torch

from likelier.prove.fixed_points import Table, fixed_point_name
from likelier.prove.matrix import (
    ALGORITHMS,
    MIN_SEPARATION,
    REACHED_KL,
    SEQUENCE_MEAN_CELLS,
    SHAPES,
    best_of_n_distribution,
    describe_place,
    make_config,
    make_matrix,
    prove,
    prove_best_of_n,
    prove_dpo,
    random_table,
    train_all,
)
from likelier.prove.tabular_lm import TabularLM, kl_divergence

REACHES_OPTIMUM = (
    ("ppo", "k1", "reward"),
    ("ppo", "k2", "loss"),
    ("ppo", "k3", "loss_ratio"),
    ("rloo", "k1", "reward"),
    ("dr_grpo", "k1", "reward"),
    ("reinforce_pp", "k1", "reward"),
)
OTHER_FIXED_POINT = (
    ("ppo", "k2", "reward"),
    ("ppo", "k3", "reward"),
    ("ppo", "k1", "loss"),
    ("ppo", "k3", "loss"),
    ("grpo", "k3", "loss"),
)
UNIQUE = {
    "optimum",
    "best response",
    "reversed",
    "spread reversed",
    "length optimum",
    "length spread reversed",
}
"""Fixed points that do not depend on the path of training."""
MAIN = ("optimum", "best response", "reversed", "pushed down", "spread reversed", "next token")
"""Fixed points of one table in `make test`; the others are variants of these with a price or a length."""


def test_matrix_has_every_cell_once():
    matrix = make_matrix(random_table(1))
    cells = [(c.algorithm, describe_place(c), c.kl_estimator, c.responses_per_prompt) for c in matrix]
    assert len(cells) == len(set(cells)) == 5 * 3 * 3 + 2 + 4 + 3 * 2
    for config in make_matrix(random_table(1)):
        assert (config.gamma, config.temperature, config.lr_schedule) == (1.0, 1.0, "linear")
        assert config.whiten_advantages is False


@pytest.mark.parametrize("seed", range(6))
def test_random_tables_differ_and_separate_the_fixed_points(seed):
    table = random_table(seed)
    model = table.reference
    assert (model.vocabulary, model.length, model.end_token) == SHAPES[seed]
    assert len(table.rewards) == len(model.responses)
    assert torch.equal(table.rewards, random_table(seed).rewards)
    assert not torch.equal(table.reference.logits, random_table(seed + 6).reference.logits)
    assert kl_divergence(table.ref, table.optimum) > MIN_SEPARATION


def test_larger_tables_get_larger_batches():
    sizes = [
        make_config(Table(TabularLM(v, t), torch.zeros(v**t), 0.5), "rloo", "k1", "reward").batch_size
        for v, t in ((4, 3), (5, 3), (8, 4))
    ]
    assert sizes == [1024, 2048, 8192]


def test_best_of_n_by_hand():
    # two answers of 1/4 and 3/4, the rare one better: the other wins only if it is drawn twice
    ref, rewards = torch.tensor([0.25, 0.75], dtype=torch.float64).log(), torch.tensor([1.0, 0.0])
    assert best_of_n_distribution(ref, rewards, 2).exp().tolist() == pytest.approx([1 - 9 / 16, 9 / 16], abs=1e-12)
    same = torch.tensor([0.0, 0.0])
    assert best_of_n_distribution(ref, same, 5).exp().tolist() == pytest.approx([0.25, 0.75], abs=1e-12)


@pytest.mark.parametrize("n", [2, 4, 64])
def test_the_kl_of_best_of_n_is_below_its_bound(n):
    bound = math.log(n) - (n - 1) / n
    few, many = (torch.full((size,), 1 / size, dtype=torch.float64).log() for size in (8, 5000))
    kls = [kl_divergence(best_of_n_distribution(ref, torch.arange(len(ref)).double(), n), ref) for ref in (few, many)]
    assert kls[0] < kls[1] <= bound
    assert kls[1] == pytest.approx(bound, abs=0.02)


def test_best_of_64_of_eight_responses_stays_below_log_8():
    """log 64 - 63/64 = 3.17 is the bound; with 8 equally likely responses the KL can only be below log 8."""
    ref = torch.full((8,), 1 / 8, dtype=torch.float64).log()
    assert kl_divergence(best_of_n_distribution(ref, torch.arange(8.0), 64), ref) < math.log(8) < 3.17


def test_sampled_best_of_n_is_as_enumerated():
    row = prove_best_of_n(random_table(0), seed=0)
    assert row.fixed_point_distance < 0.01
    assert (row.expected, row.reached) == (False, False)


@pytest.mark.slow
def test_dpo_reaches_the_optimum_from_single_judgements():
    row = prove_dpo(random_table(1), seed=0)
    assert row.reached
    assert row.holds


def assert_rows_hold(rows):
    for row in rows:
        assert row.reached == row.expected == (row.distance <= REACHED_KL), row
        if row.fixed_point in UNIQUE:
            assert row.fixed_point_distance < 0.05, row


@pytest.mark.battery
@pytest.mark.parametrize("seed", [1, 2])
def test_theory_holds_on_other_tables(seed):
    table = random_table(seed)
    rows = prove(table, seed, configs=[make_config(table, *cell) for cell in (*REACHES_OPTIMUM, *OTHER_FIXED_POINT)])
    assert_rows_hold(rows)
    assert [row.expected for row in rows] == [True] * len(REACHES_OPTIMUM) + [False] * len(OTHER_FIXED_POINT)


@pytest.mark.battery
def test_a_mean_of_each_response_keeps_the_optimum_where_the_penalty_is_in_the_reward_alone():
    table = random_table(2)  # responses of one to four tokens
    rows = prove(table, configs=[make_config(table, *cell, "response", "sequence") for cell in SEQUENCE_MEAN_CELLS])
    assert_rows_hold(rows)
    assert [row.place for row in rows] == ["reward_sequence"] * 2 + ["loss_sequence"] * 2
    assert [row.expected for row in rows] == [True, True, False, False]
    assert all(row.distance > MIN_SEPARATION for row in rows[2:])


@pytest.mark.slow
def test_where_all_responses_are_as_long_their_means_change_nothing():
    table = random_table(1)
    (row,) = prove(table, configs=[make_config(table, "rloo", "k2", "loss", "response", "sequence")])
    assert (row.fixed_point, row.expected, row.reached) == ("length optimum", True, True)


@pytest.mark.slow
def test_the_main_fixed_points_are_reached_on_one_table():
    """One cell of each; `make battery` trains all, small groups too."""
    table = random_table(0)
    one_each = {name: config for config in make_matrix(table) if (name := fixed_point_name(config)) in MAIN}
    assert one_each.keys() == set(MAIN)
    assert_rows_hold(prove(table, configs=list(one_each.values())))


@pytest.mark.battery
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_whole_matrix(algorithm):
    table = random_table(0)
    assert_rows_hold(prove(table, configs=[config for config in make_matrix(table) if config.algorithm == algorithm]))


@pytest.mark.battery
def test_number_of_processes_does_not_change_results():
    table = random_table(1)
    config = make_config(table, "rloo", "k1", "reward").model_copy(update={"total_episodes": 1024 * 4})
    alone, shared = (list(train_all(table, [config] * 2, 0, workers)) for workers in (1, 2))
    assert torch.equal(torch.stack(alone), torch.stack(shared))

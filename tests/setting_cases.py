"""Every setting, and what shows that it does something. A new setting needs a line here, or `test_settings_bite` fails.

    "gamma": bites(0.5)                                   the weights at the end differ from the base run's
    "save_steps": bites(1, seen="files")                  something else differs: see `Observed`
    "kl_horizon": bites(9.0, kl_target=0.1)               both runs have kl_target=0.1, a field of the same block
    "vocab_size": bites(9, **{"/model": ""})              both runs have model="", a field at the top of the file
    "device": elsewhere("training/test_setup.py::test_...")     no tiny run can show it; this test does

`FOLDER/` in a value stands for the folder of the tiny world.
"""

from pathlib import Path
from typing import Any, NamedTuple

from likelier.config import UpdateConfig
from likelier.config.base import PageConfig

BROKEN_ENVS = Path(__file__).with_name("broken_envs.py")


class Bites(NamedTuple):
    """Run once with `given`, once with `given` and the setting changed to `value`: what is `seen` must differ."""

    value: Any
    seen: str
    given: dict[str, Any]


class Elsewhere(NamedTuple):
    """The test that shows it, `file.py::test_name`."""

    test: str


def bites(value, seen="weights", **given):
    return Bites(value, seen, given)


def elsewhere(test):
    return Elsewhere(test)


def training(learning_rate, own):
    """What every gradient-trained stage shares, beside its own."""
    return {
        "learning_rate": bites(learning_rate),
        "lr_schedule": bites("constant"),
        "warmup_ratio": bites(0.5),
        "weight_decay": bites(0.3),
        "adam_eps": bites(1e-2),
        "max_grad_norm": bites(1e-3),
        "bf16": bites(True),
        "device": elsewhere("training/test_setup.py::test_unavailable_device_is_named"),
        "save_steps": bites(1, seen="files"),
        "save_total_limit": bites(1, seen="files", save_steps=1),
        "report_to": bites(["tensorboard"], seen="files"),
        "run_name": elsewhere("test_trackers.py::test_trackio_writes_its_local_database"),
    } | own


REFUSED = "test_what_serve_refuses_settings_are_refused_in"
SCORER = [{"function": "FOLDER/reward.py:count_a"}]
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
SCRATCH = {"/model": "", "architecture": LLAMA}

ADAPTER = {
    "lora_rank": bites(2),
    "lora_alpha": bites(4, lora_rank=2),
    "lora_targets": bites(["q_proj"], lora_rank=2),
    "model_dtype": bites("bfloat16", lora_rank=2),
    "optimizer": bites("adamw_8bit"),
    "shard": elsewhere("text/test_sharding.py::test_each_process_holds_its_part_and_a_whole_copy_for_a_while"),
    "gradient_checkpointing": elsewhere("text/test_checkpoint_layers.py::test_each_stage_keeps_less_for_the_same_loss"),
}
SFT = training(
    1e-3,
    {
        "num_epochs": bites(2),
        "max_steps": bites(1),
        "batch_size": bites(3),
        "micro_batch_size": bites(1),  # in the last bits only
        "max_length": bites(4),
        "architecture": bites(LLAMA | {"hidden_size": 24}, **SCRATCH),
        "tokenizer": bites("characters", **SCRATCH),
        "vocab_size": bites(7, **SCRATCH),
        "eval_steps": bites(1, seen="metrics"),
        **ADAPTER,
    },
)
DPO = training(
    1e-3,
    {
        "beta": bites(0.5),
        "num_epochs": bites(2),
        "batch_size": bites(3),
        "micro_batch_size": bites(1),  # in the last bits only
        "max_length": bites(7),
        "use_flip": bites(False),
        "eval_steps": bites(1, seen="metrics"),
        **ADAPTER,
    },
)
REWARD_MODEL = training(
    1e-3,
    {
        "num_epochs": elsewhere("reward/test_train.py::test_steps_follow_from_the_data_and_patience_ends_them"),
        "batch_size": bites(3),
        "micro_batch_size": bites(1),  # in the last bits only
        "max_length": bites(4),
        "ensemble_size": bites(2, seen="files"),
        "ensemble": bites("heads", seen="files", ensemble_size=2),
        "from": bites("FOLDER/judge"),
        **ADAPTER,
        "center_coef": bites(0.5),
        "off_prompt_pairs": bites(1.0),
        "early_stopping": bites(False, learning_rate=0.03, num_epochs=4),
        "use_flip": bites(False),
        "length_debias": bites(True),
        "from_scratch": bites(True),
    },
)
PPO = training(
    1e-2,
    {
        "num_ppo_epochs": bites(3),
        "num_mini_batches": bites(4),
        "micro_batch_size": bites(1),  # in the last bits only
        "cliprange": bites(0.01),
        "clip_high": bites(0.01),
        "dual_clip": bites(1.01),
        "cliprange_value": bites(None),
        "vf_coef": bites(1.0),
        "entropy_coef": bites(0.1),
        "loss_aggregation": bites("sequence"),
        "target_kl": bites(1e-6),
        "gamma": bites(0.5),
        "lam": bites(0.5),
        "max_skipped_updates": bites(2, seen="error", learning_rate=1e30),
        "algorithm": bites("rloo", responses_per_prompt=2),
        "total_episodes": bites(24),
        "batch_size": bites(16),
        "responses_per_prompt": bites(2),
        "response_length": bites(5),
        "temperature": bites(0.5),
        "stop_token": bites(None),
        "stop_strings": bites(["a"]),
        "tools": elsewhere("rlhf/test_tools.py::test_only_the_models_own_tokens_are_actions"),
        "sampler": elsewhere("engines/test_choose.py::test_the_settings_choose_the_sampler"),
        "engine_python": elsewhere("engines/test_choose.py::test_the_settings_choose_the_sampler"),
        "engine_args": elsewhere("engines/test_choose.py::test_the_settings_choose_the_sampler"),
        "max_prompt_tokens": bites(1, seen="error"),
        "loss": bites("FOLDER/reward.py:loss"),
        "kl_coef": bites(0.5),
        "kl_estimator": bites("k3"),
        "kl_place": bites("loss"),
        "kl_level": bites("token", kl_place="loss"),
        "kl_target": bites(0.01),
        "kl_horizon": bites(100.0, kl_target=0.01),
        "reward_center": bites(True),
        "reward_norm": bites("running"),
        "reward_scale": bites(3.0),
        "reward_clip": bites(0.5),
        "missing_eos_penalty": bites(1.0),
        "missing_eos_score": bites(-1.0),
        "whiten_rewards": bites(True),
        "whiten_advantages": bites(False),
        "old_logprobs": bites("sampler"),
        "async_steps": elsewhere(
            "rlhf/test_responses.py::test_a_step_has_the_responses_of_the_policy_so_many_updates_before"
        ),
        "importance_cap": bites(1.0),
        "importance_floor": bites(1.0, importance_cap=2.0),
        **ADAPTER,
        "critic": bites("shared"),
        "critic_model": bites("FOLDER/other"),
        "reference": bites("FOLDER/other"),
        "critic_learning_rate": bites(1e-3),
        "critic_warmup_steps": bites(1),
        "critic_lam": bites(1.0),
        "lam_by_length": bites(0.5),
        "num_eval_prompts": bites(1),
        "eval_steps": bites(1, seen="metrics"),
        "keep_best": elsewhere("evaluation/test_keep_best.py::test_the_model_is_that_of_the_best_evaluation"),
        "stop_on": elsewhere(
            "evaluation/test_keep_best.py::test_training_stops_where_the_judge_has_fallen_and_stays_stopped"
        ),
        "token_records": bites(2, seen="files"),
        "offload": elsewhere("training/test_offload.py::test_a_run_moves_what_it_does_not_use_and_keeps_its_bits"),
        "rollout_batch_size": bites(4, seen="sampled_at_once"),
        "samples_per_step": bites(1, seen="samples"),
        "anyway": elsewhere("reward/test_verdict.py::test_ppo_does_not_train_on_a_reward_at_chance_unless_anyway"),
        "port": elsewhere("rlhf/test_people.py::test_the_command_is_killed_while_it_waits_and_goes_on"),
        **{name: elsewhere(f"web/test_server.py::{REFUSED}") for name in PageConfig.model_fields if name != "port"},
    },
)
EVAL = {
    "model_a": bites("FOLDER/model-b", seen="result"),
    "model_b": bites("FOLDER/model", seen="result"),
    "prompts": bites("FOLDER/few.jsonl", seen="result"),
    "scorer": bites([{"function": "FOLDER/reward.py:count_b"}], seen="result"),
    "num_prompts": bites(2, seen="result"),
    "responses_per_prompt": bites(2, seen="result"),
    "response_length": bites(2, seen="result"),
    "temperature": bites(0.5, seen="result"),
    "stop_token": bites(None, seen="result"),
    "stop_strings": bites(["a"], seen="result"),
    "tools": elsewhere("rlhf/test_tools.py::test_an_evaluation_with_tools"),
    "sampler": elsewhere("engines/test_choose.py::test_the_settings_choose_the_sampler"),
    "engine_python": elsewhere("engines/test_choose.py::test_the_settings_choose_the_sampler"),
    "engine_args": elsewhere("engines/test_choose.py::test_the_settings_choose_the_sampler"),
    "top_k": bites(1, seen="result"),
    "top_p": bites(0.05, seen="result"),
    "min_p": bites(0.99, seen="result"),
    "use_generation_config": elsewhere("text/test_sampler.py::test_a_models_own_generation_settings"),
    "knowledge": bites("FOLDER/sft.jsonl", seen="result"),
    "others": bites([{"model": "FOLDER/other"}], seen="result"),
    "best_of": bites([2], seen="result", selector=SCORER, best_of=[4]),
    "selector": bites([{"function": "FOLDER/reward.py:count_b"}], seen="result", selector=SCORER, best_of=[2]),
    "batch_size": bites(2, seen="sampled_at_once"),
    "model_dtype": bites("8bit", seen="result"),
    "server": elsewhere("evaluation/test_respondents.py::test_a_model_on_a_server_against_a_folder"),
    "device": elsewhere("training/test_setup.py::test_unavailable_device_is_named"),
    "judgements_per_comparison": elsewhere("evaluation/test_people.py::test_the_result_of_people_by_hand"),
    "num_judged": elsewhere(
        "evaluation/test_people.py::test_people_are_asked_about_as_many_as_wanted_and_correct_the_other_judges"
    ),
    "project": elsewhere("evaluation/test_people.py::test_people_judge_in_a_project_of_their_own"),
    "port": elsewhere("evaluation/test_people.py::test_the_result_of_people_by_hand"),
    "host": elsewhere("web/test_server.py::test_what_serve_refuses_settings_are_refused_in"),
    "tls_cert": elsewhere("web/test_server.py::test_what_serve_refuses_settings_are_refused_in"),
    "tls_key": elsewhere("web/test_server.py::test_what_serve_refuses_settings_are_refused_in"),
    "public_url": elsewhere("web/test_server.py::test_what_serve_refuses_settings_are_refused_in"),
    "insecure_http": elsewhere("web/test_server.py::test_what_serve_refuses_settings_are_refused_in"),
}
CIRCLE = {
    "db": bites("FOLDER/mine.db", seen="files"),
    "project": elsewhere("test_circle.py::test_a_circle_may_ask_in_a_project_of_its_database"),
    "num_prompts": bites(9, seen="result"),
    "num_eval_prompts": bites(1, seen="result"),
    "responses_per_prompt": bites(3, seen="result"),
    "judgements": bites(7, seen="result"),
    "judgements_per_comparison": bites(3, seen="result"),
    "check_feedback": bites(False, seen="result"),
    "lang": elsewhere("test_circle.py::test_a_round_whose_reward_is_at_chance_keeps_its_model_and_says_so"),
    "port": bites(8123, seen="result"),
    "host": elsewhere("web/test_server.py::test_what_serve_refuses_settings_are_refused_in"),
    "tls_cert": elsewhere("web/test_server.py::test_what_serve_refuses_settings_are_refused_in"),
    "tls_key": elsewhere("web/test_server.py::test_what_serve_refuses_settings_are_refused_in"),
    "public_url": elsewhere("web/test_server.py::test_a_circles_page_is_reached_as_its_settings_say"),
    "insecure_http": elsewhere("web/test_server.py::test_other_machines_are_served_where_the_settings_protect_it"),
    "start": elsewhere("runs/test_round.py::test_a_round_starts_and_measures_kl_where_it_is_told"),
    "learn_from": elsewhere("test_circle.py::test_a_round_may_learn_from_its_own_judgements_alone"),
    "half_life": elsewhere("circle/test_feedback.py::test_answers_of_earlier_rounds_may_fade"),
    "ask": elsewhere("circle/test_feedback.py::test_a_round_asks_by_the_reward_model_of_the_round_before"),
    "taste": elsewhere("circle/test_feedback.py::test_a_circle_may_learn_the_taste_of_the_majority_alone"),
    "balance_people": elsewhere("circle/test_feedback.py::test_every_person_group_and_prompt_may_count_alike"),
    "balance_groups": elsewhere("circle/test_feedback.py::test_every_person_group_and_prompt_may_count_alike"),
    "balance_prompts": elsewhere("circle/test_feedback.py::test_every_person_group_and_prompt_may_count_alike"),
    "balance_topics": elsewhere("circle/test_feedback.py::test_topics_are_balanced_too"),
    "accept": elsewhere("test_circle.py::test_only_a_better_policy_is_the_next_start"),
    "baselines": elsewhere("test_circle.py::test_baselines_stand_beside_ppo_on_the_same_evaluation"),
}
SEARCH = {
    "stage": elsewhere("search/test_run.py::test_reward_models_are_judged_on_held_out_conversations"),
    "method": elsewhere("search/test_space.py::test_random_values_lie_in_their_ranges_and_fill_them"),
    "space": elsewhere("search/test_space.py::test_a_grid_is_every_combination_the_last_field_fastest"),
    "num_trials": elsewhere(
        "search/test_space.py::test_a_longer_random_search_begins_like_a_shorter_one_and_another_seed_does_not"
    ),
    "folds": elsewhere("search/test_folds.py::test_every_conversation_is_held_out_once"),
    "metric": elsewhere("search/test_run.py::test_a_metric_that_is_not_there_is_named_after_the_first_run"),
    "direction": elsewhere("search/test_ranking.py::test_best_first_equal_means_by_number_failed_last"),
    "threads": elsewhere("search/test_run.py::test_a_run_computes_with_the_threads_it_was_given"),
}
TOP = {
    "model": {stage: bites("FOLDER/other") for stage in ("sft", "reward_model", "dpo", "ppo")},
    "prompts": {"ppo": bites("FOLDER/few.jsonl")},
    "data": {
        "sft": bites("FOLDER/short.jsonl"),
        "reward_model": bites("FOLDER/other-pairs"),
        "dpo": bites("FOLDER/other-pairs"),
    },
    "reward": {"ppo": bites([{"function": "FOLDER/reward.py:count_b"}])},
    "chat_template_kwargs": {
        "ppo": elsewhere("text/test_chat_template.py::test_every_verb_passes_the_setting_on"),
    },
    "seed": {
        "sft": bites(1),
        "reward_model": bites(1),
        "dpo": bites(1),
        "ppo": bites(1),
        "gym": bites(1),
        "eval": bites(1, seen="result"),
        "circle": bites(1, seen="result"),
    },
}
"""Settings outside the blocks, for each stage that reads them."""
SOURCE = {
    "model": elsewhere("reward/test_ensemble.py::test_reward_models_alone_and_together"),
    "function": bites("FOLDER/reward.py:count_b"),
    "arguments": elsewhere("reward/test_functions.py::test_arguments_of_a_users_function"),
    "http": elsewhere("reward/test_service.py::test_a_service"),
    "people": elsewhere("evaluation/test_people.py::test_the_result_of_people_by_hand"),
    "wait_minutes": elsewhere(
        "rlhf/test_people.py::test_where_nobody_rates_other_sources_stand_and_alone_the_run_waits_on"
    ),
    "judge": elsewhere("evaluation/test_judge.py::test_the_result_by_hand"),
    "per": bites("token", function="FOLDER/reward.py:by_token"),
    "weight": bites(3.0),
    "caution": elsewhere("reward/test_ensemble.py::test_reward_models_alone_and_together"),
    "combine": elsewhere("reward/test_ensemble.py::test_scores_of_two_models_are_combined_by_hand"),
    "name": bites("kind", seen="metrics"),
}
"""Settings of an entry of `reward`, seen through PPO."""
JUDGE = {
    "http": elsewhere("evaluation/test_judge.py::test_the_result_by_hand"),
    "model": elsewhere("evaluation/test_judge.py::test_the_result_by_hand"),
    "instruction": elsewhere("evaluation/test_judge.py::test_what_was_answered_is_not_asked_again"),
    "concurrency": elsewhere("evaluation/test_judge.py::test_retries_keys_and_bounded_concurrency"),
    "max_tokens": elsewhere("evaluation/test_judge.py::test_an_answer_is_bounded_where_max_tokens_says_so"),
}
OTHER = {
    "model": elsewhere("evaluation/test_compare.py::test_other_models_are_compared_on_the_same_prompts"),
    "name": elsewhere("evaluation/test_compare.py::test_other_models_are_compared_on_the_same_prompts"),
}
RANGE = {
    "low": elsewhere("search/test_space.py::test_random_values_lie_in_their_ranges_and_fill_them"),
    "high": elsewhere("search/test_space.py::test_random_values_lie_in_their_ranges_and_fill_them"),
    "log": elsewhere("search/test_space.py::test_random_values_lie_in_their_ranges_and_fill_them"),
}
BOX = {"env_args": {"actions": "box"}}
TAUGHT = "test_people_teach_an_agent_and_a_resume_asks_nothing_twice"
LEARNED = "control/preferences/test_learned.py::"
GYM = training(
    1e-2,
    {
        name: entry
        for name, entry in PPO.items()
        if name in UpdateConfig.model_fields and name not in ("loss_aggregation", "bf16")
    }
    | {
        "loss_aggregation": bites("sequence", seen="error"),
        "bf16": bites(True, seen="error"),
        "gamma": bites(0.5),
        "cliprange_value": bites(0.01),
        "env_id": bites(f"{BROKEN_ENVS}:Sound"),
        "env_args": bites({"actions": "multi"}),
        "agent": elsewhere("control/test_train.py::test_an_agent_goes_on_learning"),
        "max_episode_steps": bites(3),
        "total_steps": bites(192),
        "num_envs": bites(2),
        "step_timeout_seconds": elsewhere("control/test_envs.py::test_a_bad_environment_is_named_with_the_field"),
        "rollout_length": bites(8),
        "frame_stack": bites(2),
        "normalize_observations": bites(False),
        "normalize_rewards": bites(False),
        "hidden_sizes": bites([8]),
        "activation": bites("relu"),
        "recurrent": bites(True),
        "lstm_size": bites(8, recurrent=True),
        "preferences.db": elsewhere(f"web/test_clip_page.py::{TAUGHT}"),
        "preferences.question": elsewhere(f"web/test_clip_page.py::{TAUGHT}"),
        "preferences.wait_minutes": elsewhere(
            "web/test_clip_page.py::test_who_does_not_answer_in_time_is_not_waited_for_and_a_late_answer_counts"
        ),
        "preferences.port": elsewhere(f"web/test_clip_page.py::{TAUGHT}"),
        **{
            f"preferences.{name}": elsewhere(f"web/test_server.py::{REFUSED}")
            for name in PageConfig.model_fields
            if name != "port"
        },
        "preferences.simulated": elsewhere("control/preferences/test_judges.py::test_chances_by_hand"),
        "preferences.taste": elsewhere(
            "control/preferences/test_judges.py::test_a_taste_is_a_function_of_what_a_clip_shows"
        ),
        "preferences.min_gamma": elsewhere(f"{LEARNED}test_the_discount_is_raised_for_a_learned_reward_alone"),
        "preferences.comparisons": elsewhere(f"{LEARNED}test_what_a_run_asks_learns_and_reports"),
        "preferences.clip_seconds": elsewhere(f"{LEARNED}test_what_a_run_asks_learns_and_reports"),
        "preferences.ensemble_size": elsewhere(
            "control/preferences/test_reward_model.py::test_bags_stay_as_comparisons_come"
        ),
        "preferences.entropy_coef": elsewhere(f"{LEARNED}test_entropy_has_a_bonus_until_the_last_comparisons"),
        "preferences.choose": elsewhere(f"{LEARNED}test_pairs_on_which_the_members_disagree_are_asked_about"),
        "log_std": bites(-1.0, **BOX),
        "state_dependent_std": bites(True, **BOX),
        "whiten_advantages": bites(False),
        "cliprange_schedule": bites("linear"),
        "num_eval_episodes": bites(3, seen="result"),
        "gif": bites(True, seen="files", env_id="CartPole-v1"),
    },
)
BLOCKS = {
    "sft": SFT,
    "reward_model": REWARD_MODEL,
    "dpo": DPO,
    "ppo": PPO,
    "gym": GYM,
    "eval": EVAL,
    "circle": CIRCLE,
    "search": SEARCH,
}
"""A block within a block has its fields here too, as `"lora.rank"`."""

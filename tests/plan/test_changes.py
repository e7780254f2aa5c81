from likelier.config import build_config
from likelier.plan.changes import describe_changes, list_changes


def settings(stage, **blocks):
    return [change.setting for change in list_changes(stage, build_config(blocks))]


def test_changes_of_ppo_begin_with_what_changes_nothing():
    assert settings("ppo", ppo={"batch_size": 64, "num_mini_batches": 4, "total_episodes": 64}) == [
        "ppo.micro_batch_size=4",
        "ppo.rollout_batch_size=16",
        "ppo.gradient_checkpointing=true",
        "ppo.model_dtype=bfloat16",
        "ppo.optimizer=adamw_8bit",
        "ppo.bf16=true",
        "ppo.lora_rank=16 ppo.critic=adapter",
        "ppo.model_dtype=4bit",
        "ppo.response_length=128",
    ]


def test_a_gpu_can_leave_weights_to_the_cpu():
    config = build_config({"ppo": {"batch_size": 64}})
    names = [change.setting for change in list_changes("ppo", config, has_gpu=True)]
    assert names.index("ppo.offload=true") == names.index("ppo.gradient_checkpointing=true") + 1
    assert "ppo.offload=true" not in settings("ppo", ppo={"batch_size": 64})


def test_what_is_done_already_is_no_change():
    small = {"micro_batch_size": 1, "rollout_batch_size": 8, "gradient_checkpointing": True, "lora_rank": 8}
    small |= {"optimizer": "adamw_8bit"}
    assert settings("ppo", ppo=small | {"model_dtype": "4bit", "bf16": True, "critic": "shared"}) == [
        "ppo.response_length=128"
    ]
    assert "ppo.critic=adapter" in settings("ppo", ppo=small)
    assert "ppo.critic=adapter" not in settings("ppo", ppo=small | {"algorithm": "rloo", "responses_per_prompt": 2})


def test_the_base_of_a_whole_reward_model_is_not_frozen():
    assert settings("reward", reward_model={"batch_size": 8})[:3] == [
        "reward_model.micro_batch_size=2",
        "reward_model.gradient_checkpointing=true",
        "reward_model.optimizer=adamw_8bit",
    ]
    assert settings("eval", eval={"batch_size": 2}) == ["eval.batch_size=1", "eval.response_length=128"]
    assert settings("candidates", circle={}) == []


def test_every_change_is_a_setting():
    for stage in ("sft", "reward", "dpo", "ppo"):
        for change in list_changes(stage, build_config({})):
            words = [word for word in change.setting.split() if "4bit" not in word and "bfloat16" not in word]
            assert not words or build_config({}, words) != build_config({}), change.setting


def test_words_at_the_end_of_a_run():
    config = build_config({"sft": {"micro_batch_size": 1, "gradient_checkpointing": True, "max_length": 64}})
    assert describe_changes(list_changes("sft", config)) == (
        "change, what costs least first: sft.optimizer=adamw_8bit, sft.bf16=true, sft.lora_rank=16, "
        "sft.model_dtype=4bit, sft.max_length=32"
    )
    assert describe_changes([]) == "take a smaller model or a larger machine"

"""Settings: from YAML and the command line, checked with errors that name the field and what was meant."""

import ast
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import likelier
from likelier.config import (
    Block,
    Config,
    PPOConfig,
    RewardSource,
    apply_override,
    build_config,
    load_config,
    parse_yaml,
)
from likelier.errors import ConfigError

SOURCE = Path(likelier.__file__).parent
BLOCKS = [kind for field in Config.model_fields.values() if isinstance(kind := field.annotation, type)]
BLOCKS = [Config, RewardSource, *(kind for kind in BLOCKS if issubclass(kind, Block))]


def write(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_with_settings_laid_over_it(tmp_path):
    path = write(tmp_path, "model: m\nseed: 1\nppo:\n  kl_coef: 0.1\n  learning_rate: 3e-4\n")
    config = load_config(path, ["seed=2", "ppo.kl_coef=0.2", "reward=[{function: f.py:g, weight: 2}]", "sft.bf16=true"])
    assert (config.model, config.seed, config.ppo.kl_coef, config.ppo.learning_rate) == ("m", 2, 0.2, 0.0003)
    assert config.reward == [RewardSource(function="f.py:g", weight=2.0)]
    assert config.sft.bf16 is True


def test_the_resolved_file_is_the_same_config():
    config = build_config({"ppo": {"batch_size": 32, "num_mini_batches": 2}, "reward": [{"model": "r"}]})
    assert build_config(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


def test_laying_over_copies():
    settings = {"ppo": {"gamma": 1.0}}
    assert apply_override(settings, "ppo.lam=0.9") == {"ppo": {"gamma": 1.0, "lam": 0.9}}
    assert settings == {"ppo": {"gamma": 1.0}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ppo: {learnig_rate: 1}", "unknown setting `ppo.learnig_rate`; did you mean `learning_rate`?"),
        ("chat_template_kwargs: {tokenize: true}", "chat_template_kwargs: tokenize is no argument of the template"),
        ("sedd: 1", "unknown setting `sedd`; did you mean `seed`?"),
        ("zzz: 1", "unknown setting `zzz`; allowed: model, prompts, data, chat_template_kwargs, seed"),
        ("reward: [{modle: m}]", "unknown setting `reward.0.modle`; did you mean `model`?"),
        ("eval: {scorer: [{wieght: 1, model: m}]}", "did you mean `weight`?"),
        ("reward: [{model: m, function: f}]", "reward.0: give exactly one of model, function, http"),
        ("reward: [{model: m, per: token}]", "reward.0: per: token needs a function"),
        ("reward: [{function: f, caution: 1}]", "reward.0: caution would have no effect"),
        ("reward: [{function: f, combine: min}]", "reward.0: combine would have no effect"),
        ("reward: [{model: m, combine: min, caution: 1}]", "the minimum takes nothing off a mean"),
        ("reward: [{model: m, combine: uncertainty_weighted}]", "is the mean where caution is 0"),
        ("reward_model: {ensemble: heads}", "ensemble would have no effect: ensemble_size is 1"),
        ("reward_model: {lora_rank: 4, ensemble_size: 2}", "lora_rank: of several models each has an adapter"),
        ("reward_model: {lora_rank: 4, from_scratch: true}", "from_scratch: an adapter changes a frozen base"),
        ("reward_model: {from: a, from_scratch: true}", "from_scratch: `from` names weights to start from"),
        ("reward_model: {from_: a}", "unknown setting `reward_model.from_`; did you mean `from`?"),
        ("reward_model: {lora_alpha: 4}", "lora_alpha would have no effect: lora_rank is not set"),
        ("reward_model: {ensemble: adapters, lora_rank: null}", "ensemble is adapters, which have a rank"),
        ("reward_model: {ensemble: adapters, from_scratch: true}", "an adapter changes a frozen base"),
        ("eval: {scorer: [{function: f, per: token}]}", "eval: scorer: a judge scores whole responses"),
        ("reward: [{people: f.db}, {people: g.db}]", "reward: people stand there twice"),
        ("reward: [{function: f, wait_minutes: 5}]", "reward.0: wait_minutes would have no effect"),
        ("{reward: [{function: f}], ppo: {port: 80}}", "ppo.port would have no effect: `reward` has no people"),
        ("{reward: [{people: f.db}], ppo: {reward_center: true}}", "ppo.reward_center: people have rated nothing"),
        ("eval: {best_of: [2], selector: [{people: f.db}]}", "eval.selector: people can rate in `reward` of"),
        ("eval: {scorer: [{people: f.db, weight: 2}]}", "weight would have no effect: people say which answer is"),
        ("eval: {scorer: [{people: f.db, wait_minutes: 5}]}", "wait_minutes would have no effect: the page stays open"),
        ("eval: {scorer: [{people: f.db, caution: 1}]}", "caution would have no effect"),
        ("eval: {scorer: [{people: f.db, per: token}]}", "per: token needs a function"),
        ("eval: {scorer: [{people: f.db, model: m}]}", "give exactly one of model, function, http, people"),
        ("eval: {scorer: [{people: f.db}, {people: g.db}]}", "eval: scorer: people stand there twice"),
        ("eval: {scorer: [{people: f.db}, {model: people}]}", "eval: scorer: two judges are called people"),
        ("eval: {scorer: [{people: f.db}], best_of: [2]}", "eval: best_of: people judge only model_b against model_a"),
        ("eval: {scorer: [{people: f.db}], others: [{model: m}]}", "eval: others: people judge only model_b against"),
        ("eval: {port: 80}", "eval: port would have no effect: eval.scorer has no people"),
        ("eval: {judgements_per_comparison: 2}", "eval: judgements_per_comparison would have no effect"),
        ("seed: -1", "seed: Input should be greater than or equal to 0, got -1"),
        ("seed: 1.5", "seed: .*got 1.5"),
        ("ppo: {learning_rate: fast}", "ppo.learning_rate: .*got 'fast'"),
        ("ppo: {gamma: 1.1}", "ppo.gamma: .*less than or equal to 1, got 1.1"),
        ("ppo: {kl_coef: .nan}", "ppo.kl_coef: .*got nan"),
        ("ppo: {learning_rate: .inf}", "ppo.learning_rate: .*got inf"),
        ("ppo: {kl_estimator: k4}", "ppo.kl_estimator: .*'k1', 'k2' or 'k3', got 'k4'"),
        ("ppo: {batch_size: 10}", "ppo: batch_size 10 is not a multiple of num_mini_batches 4"),
        ("ppo: {algorithm: dr_grpo}", "responses_per_prompt must be at least 2 with dr_grpo, got 1"),
        ("ppo: {algorithm: [rloo]}", "ppo.algorithm: .*'reinforce_pp'"),
        ("ppo: {kl_place: lose}", "ppo.kl_place: .*'loss_ratio', got 'lose'"),
        ("ppo: {algorithm: rloo}", "responses_per_prompt must be at least 2 with rloo, got 1"),
        ("ppo: {total_episodes: 8}", "total_episodes 8 is below batch_size 64"),
        ("ppo: 3", "ppo: "),
        ("ppo: {reward_norm: always}", "'running' or 'batch', got 'always'"),
        ("ppo: {reward_clip: 0}", "ppo.reward_clip: .*greater than 0, got 0"),
        ("ppo: {missing_eos_score: -1, missing_eos_penalty: 1}", "missing_eos_penalty is set; choose one"),
        ("ppo: {missing_eos_score: -1, stop_token: null}", "no response can end by itself"),
        ("ppo: {reward_center: true, reward_norm: batch}", "reward_center would have no effect: reward_norm"),
        ("ppo: {old_logprobs: sampler, importance_cap: 2}", "importance_cap would have no effect: the ratio"),
        ("ppo: {importance_floor: 0.5}", "importance_floor would have no effect: importance_cap is not set"),
        ("ppo: {importance_floor: 2, importance_cap: 5}", "importance_floor.*less than or equal to 1, got 2"),
        ("ppo: {importance_cap: 0.5}", "importance_cap.*greater than or equal to 1, got 0.5"),
        ("dpo: {model_dtype: 4bit}", "dpo: model_dtype would have no effect: lora_rank is not set, and no weight"),
        ("ppo: {critic: adapter}", "ppo: critic: an adapter stands on a frozen base, and without lora_rank"),
        ("ppo: {critic: adapter, lora_rank: 2, critic_model: m}", "critic_model would have no effect: the critic's"),
        ("ppo: {lora_targets: [q_proj]}", "lora_targets would have no effect: lora_rank is not set"),
        ("eval: {selector: [{model: m}]}", "eval: selector would have no effect: it picks the best of n"),
        ("sft: {lora_targets: [q_proj]}", "sft: lora_targets would have no effect: lora_rank is not set"),
        ("dpo: {lora_alpha: 4}", "dpo: lora_alpha would have no effect: lora_rank is not set"),
        ("sft: {lora_rank: 2, architecture: {model_type: llama}}", "sft: lora_rank: a model from scratch has nothing"),
        ("ppo: {lora_rank: 0}", "ppo.lora_rank: .*greater than or equal to 1, got 0"),
        ("ppo: {kl_horizon: 100}", "kl_horizon would have no effect: it belongs to kl_target"),
        ("ppo: {kl_target: 3, kl_coef: 0}", "kl_target would have no effect: kl_coef 0 stays 0"),
        ("ppo: {critic: shared, critic_model: m}", "critic_model would have no effect: a shared critic"),
        ("ppo: {algorithm: rloo, responses_per_prompt: 2, critic: shared}", "critic would have no effect: rloo has no"),
        ("ppo: {algorithm: grpo, responses_per_prompt: 2, whiten_rewards: true}", "whiten_rewards would .*: grpo has"),
        ("ppo: {algorithm: rloo, responses_per_prompt: 2, lam: 0.9}", "lam would have no effect: rloo has no critic"),
        ("ppo: {algorithm: dr_grpo, responses_per_prompt: 2, vf_coef: 1}", "vf_coef would have no effect: dr_grpo has"),
        ("ppo: {algorithm: reinforce_pp, cliprange_value: null}", "cliprange_value would have no effect: reinforce_pp"),
        ("ppo: {algorithm: reinforce_pp, critic_learning_rate: 1e-3}", "critic_learning_rate would have no effect"),
        ("ppo: {algorithm: grpo, responses_per_prompt: 2, gamma: 0.9}", "gamma would have no effect: grpo compares wh"),
        (
            "ppo: {loss: a.py:f, kl_place: loss}",
            "kl_place would have no effect: the KL is the affair of your own `loss`",
        ),
        ("ppo: {loss: a.py:f, kl_estimator: k3}", "kl_estimator would have no effect: the KL is the affair"),
        ("ppo: {loss: a.py:f, kl_level: token}", "kl_level would have no effect: the KL is the affair"),
        ("ppo: {loss: a.py:f, cliprange: 0.1}", "cliprange would have no effect: your own `loss` clips or does not"),
        ("ppo: {loss: a.py:f, clip_high: 0.3}", "clip_high would have no effect: your own `loss` clips"),
        ("ppo: {loss: a.py:f, dual_clip: 3}", "dual_clip would have no effect: your own `loss` clips"),
        ("ppo: {loss: ''}", "ppo.loss: .*at least 1 character"),
        ("ppo: {kl_level: token}", "kl_level would have no effect: it is about a penalty in the loss"),
        ("sft: {tokenizer: bpe}", "tokenizer would have no effect: it is for a model from scratch"),
        ("sft: {vocab_size: 9}", "vocab_size would have no effect: it is for a model from scratch"),
        (
            "ppo: {critic_warmup_steps: 4, total_episodes: 256}",
            "critic_warmup_steps 4 leaves the policy none of 4 steps",
        ),
        ("ppo: {stop_strings: ['']}", "ppo.stop_strings.0: .*at least 1 character, got ''"),
        ("ppo: {report_to: [neptune]}", "ppo.report_to.0: .*'neptune'"),
        ("- a", "expected `key: value` lines, got list"),
        ("", "an empty file"),
        ("a: b: c", ":1: not YAML"),
        ("seed: 1\nseed: 2", "key `seed` is given twice"),
        ("a: &x 1\nb: *x", "aliases"),
        ("model: !!python/object/apply:os.system [ls]", "not YAML"),
        ("[" * 2000, "nested too deep|not YAML"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("ppo.learning_rate", "look like ppo.learning_rate=1e-5"),
        ("=3", "look like"),
        ("seed.sub=1", "seed is not a block of settings"),
        ("ppo.clprange=0.1", "did you mean `cliprange`"),
        ("reward=[{", "not YAML"),
        ("ppo.learning_rate=1e400", "`ppo.learning_rate=1e400`:1: not YAML: `1e400` is too large"),
        (f"seed={'9' * 5000}", "^`seed=9{72}...`.{,150}$"),
    ],
)
def test_a_wrong_override_is_one_line(tmp_path, override, words):
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(write(tmp_path, "seed: 1"), [override])
    assert "\n" not in str(caught.value)


def test_absent_huge_or_binary_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "huge.yaml").write_text("#" * 1_000_001)
    with pytest.raises(ConfigError, match="too large for a config"):
        load_config(tmp_path / "huge.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"model: \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "binary.yaml")


def test_numbers_as_people_write_them():
    assert parse_yaml("[3e-4, 1E5, 2.5e+1, .5e1, 12, 1.5]", "test") == [0.0003, 100000.0, 25.0, 5.0, 12, 1.5]
    assert parse_yaml("e5", "test") == "e5"


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError, match="frozen"):
        Config().seed = 3


def test_derived_sizes():
    assert PPOConfig(total_episodes=200, batch_size=64).steps == 3
    assert [RewardSource(model="runs/a/model").label, RewardSource(function="f.py:g", name="kind").label] == [
        "model",
        "kind",
    ]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_every_setting_is_read_somewhere(block):
    """A knob that nothing reads is a lie. (Whether it bites is tested where it is read.)"""
    read = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                read.add(node.attr)
            elif path.parent.name != "config" and isinstance(node, ast.Constant):
                read.add(node.value)  # getattr(settings, name) for name in (...)
    assert [name for name in block.model_fields if name not in read] == []


def test_an_algorithm_brings_its_own_defaults_and_takes_others():
    plain = PPOConfig(algorithm="reinforce_pp")
    assert (plain.responses_per_prompt, plain.whiten_advantages, plain.loss_aggregation) == (1, False, "token")
    dr_grpo = PPOConfig(algorithm="dr_grpo", responses_per_prompt=2, whiten_advantages=True)
    assert (dr_grpo.whiten_advantages, dr_grpo.loss_aggregation) == (True, "fixed")
    assert PPOConfig.model_validate(dr_grpo.model_dump()) == dr_grpo


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "grpo", "dr_grpo", "reinforce_pp"])
def test_the_resolved_settings_of_a_run_are_settings(algorithm):
    ppo = {"algorithm": algorithm, "responses_per_prompt": 2, "gamma": 1.0, "lam": 0.95}
    config = build_config({"ppo": ppo})
    assert build_config(config.model_dump(mode="json")) == config


def test_gamma_reaches_reinforce_pp():
    assert build_config({"ppo": {"algorithm": "reinforce_pp", "gamma": 0.9}}).ppo.gamma == 0.9

"""Setup of PPO: load and check models, prompts, scorer, judges and loss."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config, ModelDtype, PPOConfig
from likelier.distributed import check_device, get_world_size
from likelier.doctor.findings.settings import explain_misplaced_penalty
from likelier.engines.choose import make_rollout_sampler, make_sampler
from likelier.errors import ConfigError
from likelier.evaluation.heldout import HeldOutEval
from likelier.evaluation.knowledge import load_answers
from likelier.ppo.algorithms import ALGORITHMS
from likelier.ppo.user_loss import LossFunction, UserLoss, load_loss
from likelier.progress import print_note
from likelier.records import Prompt, list_pictures
from likelier.reward.sources import check_columns, check_pictures, check_scored, make_scorer
from likelier.reward.verdict import check_reward_runs, read_reward_results
from likelier.rlhf.people import PeopleSource
from likelier.rlhf.responses import ResponseQueue
from likelier.rlhf.rollout import Actors
from likelier.rlhf.scores import Shaper
from likelier.text.adapters import (
    FrozenBase,
    FrozenModels,
    apply_lora,
    copy_sharing_weights,
    make_critic_adapter,
    make_reference,
)
from likelier.text.cached_decode import check_decodable
from likelier.text.checkpoint_layers import check_checkpointable
from likelier.text.exact_sampler import load_policy
from likelier.text.frozen_weights import choose_base_dtype, store_weights
from likelier.text.models import load_tokenizer, make_frozen_copy
from likelier.text.policy import TextPolicy, check_critic
from likelier.text.policy_start import PolicyStart, load_start
from likelier.text.prompts import PromptPlan, check_prompts, load_prompts
from likelier.text.sampler import Sampler
from likelier.text.sharding import is_sharding, pick_loading_device, shard_causal_lm, shard_policy
from likelier.text.vision_language import is_vision_language
from likelier.training.eight_bit import check_optimizer
from likelier.training.offload import Offload, check_offload
from likelier.training.setup import autocast, pick_device


class Setup(NamedTuple):
    """Everything that the training loop needs besides the config."""

    actors: Actors
    queue: ResponseQueue
    heldout_eval: HeldOutEval
    fresh_eval: HeldOutEval | None
    """On prompts that choose nothing; None without `ppo.keep_best`."""
    user_loss: LossFunction | None
    """The function of `ppo.loss`."""


def prepare(config: Config, sampler: Sampler | None = None, people: PeopleSource | None = None) -> Setup:
    """Load models, prompts, scorer and judges; raises before the first step if they cannot be used together."""
    ppo = config.ppo
    check_reward_runs(read_reward_results(config.reward), ppo.anyway)
    check_processes(ppo, pick_device(ppo.device))
    check_optimizer(ppo.optimizer, pick_device(ppo.device), "ppo")
    check_offload(ppo.offload, pick_device(ppo.device), "ppo")
    user_loss = load_user_loss(ppo)
    # A note and no error: these settings are published algorithms, GRPO's k3 in the loss for one.
    if misplaced := explain_misplaced_penalty(ppo):
        print_note(misplaced)
    check_ahead(ppo, sampler)
    actors, prompts = load_actors(config, sampler, people), load_prompts(config)
    model, tokenizer = actors.policy.model, actors.tokenizer
    # Before all that is checked and measured: a process of its own loads the model meanwhile.
    rollout_sampler = make_rollout_sampler(config, model, tokenizer, actors.sampler)
    queue = ResponseQueue(config, actors.policy, tokenizer, prompts, rollout_sampler)
    # All of them now: a prompt that is too long must not end a run in its tenth hour.
    longest = check_prompts(
        actors.reference,
        actors.tokenizer,
        prompts.train + prompts.held_out + prompts.fresh,
        ppo.response_length,
        "ppo.response_length",
        ppo.max_prompt_tokens,
    )
    check_readers(prompts.train + prompts.held_out + prompts.fresh, actors, ppo)
    if ppo.critic_model and isinstance(actors.policy.critic, PreTrainedModel):
        with autocast(actors.policy.device, ppo.bf16):  # a critic that is sharded runs in nothing else
            check_critic(ppo.critic_model, actors.policy.critic, actors.reference, actors.tokenizer, longest, ppo)
    heldout_eval = make_evaluation(config, prompts, actors, people)
    if ppo.offload:
        offload = make_offload(actors, heldout_eval, people is not None)
        offload.put_away()
        actors, heldout_eval = replace(actors, offload=offload), replace(heldout_eval, offload=offload)
    fresh_eval = replace(heldout_eval, prompts=prompts.fresh) if prompts.fresh else None
    return Setup(actors, queue, heldout_eval, fresh_eval, user_loss)


def make_offload(actors: Actors, heldout_eval: HeldOutEval, reads_reference: bool) -> Offload:
    """Make the offload of the frozen models. `reads_reference`: the score of what people have not rated is learned from
    the reference's hidden states."""
    scores = actors.scorer.list_models()
    judges = heldout_eval.judges.list_models() if heldout_eval.judges else []
    groups: dict[str, list[nn.Module]] = {"reference": [actors.reference], "judges": judges}
    groups["scores"] = [*scores, actors.reference] if reads_reference else scores
    return Offload(actors.policy.device, groups, kept=[actors.policy])


def check_readers(prompts: Sequence[Prompt], actors: Actors, ppo: PPOConfig) -> None:
    """ConfigError: prompts have pictures, and the critic or the reference is a model of texts."""
    if not any(list_pictures(prompt.text) for prompt in prompts):
        return
    others = {"critic_model": actors.policy.critic, "reference": actors.reference}
    for name, model in others.items():
        if isinstance(model, PreTrainedModel) and not is_vision_language(model.config):
            raise ConfigError(f"ppo.{name}: reads texts only, and prompts have pictures; give a vision-language model")


def load_actors(config: Config, sampler: Sampler | None = None, people: PeopleSource | None = None) -> Actors:
    """Load policy with critic, frozen reference, tokenizer, sampler and scorer on the configured device."""
    if not config.model:
        raise ConfigError("model: give the folder or hub name of a language model")
    if not config.reward:
        raise ConfigError("reward: give at least one of model, function, http, people")
    ppo, device, shards = config.ppo, pick_device(config.ppo.device), is_sharding(config.ppo, "ppo")
    dtype, loading = choose_base_dtype(ppo, device), pick_loading_device(shards, device)
    start = load_start(config.model, ppo, "ppo", loading, dtype)
    model = start.model
    check_decodable(model, config.model)
    tokenizer = load_tokenizer(config.model, config.chat_template_kwargs)
    policy = build_policy(model, config)
    # Before a new adapter is put on: the reference is the model as it was. What is sharded shares no weights.
    reference = (
        load_reference(ppo, tokenizer, loading)
        if ppo.reference
        else (make_frozen_copy(model) if shards else make_reference(model, ppo))
    )
    if not (ppo.reference or ppo.lora_rank):
        store_weights(reference, ppo.model_dtype or "float32")
    frozen = FrozenModels([] if shards else list_bases(config, start, reference, dtype), ppo.model_dtype, shards)
    if shards:
        if ppo.lora_rank:
            print_note(
                "ppo.shard: reference and reward models have bases of their own, each divided among the processes"
            )
        shard_causal_lm(reference, device, ppo.bf16)
        apply_lora(model, ppo, "ppo", config.seed)
        shard_policy(policy, device)
    scorer = make_scorer(config.reward, ppo.device, people.rate if people else None, frozen)
    if people:
        people.read_with(reference, tokenizer)
    if not shards:
        apply_lora(model, ppo, "ppo", config.seed)
    check_tools(config, sampler is None)
    sampler = sampler or make_sampler(model, tokenizer, ppo)
    return Actors(policy, reference, tokenizer, sampler, scorer, Shaper(ppo), frozen)


def list_bases(config: Config, start: PolicyStart, reference: PreTrainedModel, dtype: ModelDtype) -> list[FrozenBase]:
    """Return the frozen models on which reward models that are adapters may stand: the reference, and the base."""
    ppo = config.ppo
    reference_dtype = dtype if ppo.lora_rank else ppo.model_dtype or "float32"
    bases = [start.bare] if start.bare else []
    if ppo.reference or not start.bare:
        bases.append(FrozenBase(ppo.reference or config.model, reference, reference_dtype))
    if ppo.reference and ppo.lora_rank and not start.bare:
        bases.append(FrozenBase(config.model, copy_sharing_weights(start.model), dtype))
    return bases


def build_policy(model: PreTrainedModel, config: Config) -> TextPolicy:
    """Build the policy around a model that has no new adapter yet, with the critic that the settings ask for."""
    ppo = config.ppo
    critic = ppo.critic if ALGORITHMS[ppo.algorithm].has_critic else None
    adapter = make_critic_adapter(model, ppo, config.seed) if critic == "adapter" else None
    check_checkpointable(model, ppo, "ppo")
    return TextPolicy.build(
        model, critic, ppo.critic_model, ppo.temperature, bool(ppo.bf16), adapter, ppo.gradient_checkpointing
    )


def check_ahead(ppo: PPOConfig, sampler: Sampler | None) -> None:
    """ConfigError: responses are to be drawn ahead by a sampler that cannot, or where there is no memory of no name."""
    if ppo.async_steps and sys.platform != "linux":
        raise ConfigError(f"ppo.async_steps: draws in another process on Linux alone, and this is {sys.platform}")
    if ppo.async_steps and sampler is not None:
        raise ConfigError("ppo.async_steps: the sampler given from Python draws in this process; leave one of them out")


def check_tools(config: Config, is_own_sampler: bool) -> None:
    """ConfigError: tools beside what cannot be used with them."""
    if not config.ppo.tools:
        return
    if not is_own_sampler:
        raise ConfigError("ppo.tools: the sampler given from Python calls none; leave one of them out")
    if any(source.per == "token" for source in config.reward):
        raise ConfigError("ppo.tools: tokens of their answers earn nothing, and per: token in `reward` scores them")


def load_reference(ppo: PPOConfig, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> PreTrainedModel:
    """Load another model than the start as the frozen reference. ConfigError: it has other tokens."""
    path = ppo.reference or ""
    if load_tokenizer(path).get_vocab() != tokenizer.get_vocab():
        raise ConfigError(f"ppo.reference: {path}: has other tokens than `model`, so there is no KL between them")
    dtype = choose_base_dtype(ppo, device) if ppo.lora_rank else ppo.model_dtype or "float32"
    reference = load_policy(path, device, dtype)
    reference.requires_grad_(False).eval()
    return reference


def make_evaluation(
    config: Config, prompts: PromptPlan, actors: Actors, people: PeopleSource | None = None
) -> HeldOutEval:
    """Make the evaluation on held-out prompts, by the training score and by the judges of `eval.scorer`.

    People are not asked about these: their score is the model's of what they rated. ConfigError: a reward function or
    judge requires a column that the prompts lack.
    """
    scorer = actors.scorer.replace_source(people.name, people.predict) if people else actors.scorer
    # Judges are not trained against: where they fall while the score rises, the policy exploits the score.
    judges = None
    if config.eval.scoring:
        judges = make_scorer(config.eval.scoring, config.ppo.device, frozen=actors.frozen)
    every = prompts.train + prompts.held_out + prompts.fresh
    check_columns(every, actors.scorer, judges)
    check_pictures(every, "reward", config.reward)
    check_pictures(every, "eval.scorer", config.eval.scoring)
    check_scored(every, actors.scorer)
    tokenizer, reference = actors.tokenizer, actors.reference
    knowledge = load_answers(config.eval.knowledge, reference, tokenizer)
    return HeldOutEval(prompts.held_out, tokenizer, actors.sampler, reference, scorer, judges, config, knowledge)


def check_processes(ppo: PPOConfig, device: torch.device) -> None:
    """ConfigError: a minibatch is smaller than the number of processes, or they cannot communicate on this device."""
    # A process without rows would have no gradient to add, and would wait for the others in another place than they.
    smallest, size = ppo.batch_size // ppo.num_mini_batches, get_world_size()
    check_device("ppo", device)
    if ppo.shard and smallest % size:
        raise ConfigError(
            f"ppo.num_mini_batches: {ppo.num_mini_batches} leaves minibatches of {smallest} rows, and with ppo.shard "
            f"{size} processes must have equal shares; choose ppo.batch_size and ppo.num_mini_batches so"
        )
    if smallest < size:
        raise ConfigError(
            f"ppo.num_mini_batches: {ppo.num_mini_batches} leaves minibatches of {smallest} rows to {size} processes; "
            f"give each at least one"
        )


def load_user_loss(ppo: PPOConfig) -> LossFunction | None:
    """Load `ppo.loss` and try it out. ConfigError: there is none, or it returns something invalid."""
    function = load_loss(ppo.loss)
    if ppo.loss is not None and function is not None:
        num_rows = ppo.batch_size // ppo.num_mini_batches
        is_whole = get_world_size() == 1 and (ppo.micro_batch_size or num_rows) >= num_rows
        device = pick_device(ppo.device)
        UserLoss(ppo.loss, function, ppo.kl_coef).try_out(num_rows, ppo.response_length, is_whole, device)
    return function

"""Evaluation on held-out prompts during training; shared by PPO, DPO and SFT, so that their curves can be compared."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config, DPOConfig, SFTConfig
from likelier.engines.choose import make_sampler
from likelier.errors import ConfigError
from likelier.evaluation.knowledge import TokenizedAnswers, compute_answer_logprobs, load_answers
from likelier.intervals import correlation
from likelier.records import Prompt, Text
from likelier.reward.sources import Scorer, check_columns, check_pictures, check_scored, judge, make_scorer
from likelier.text.adapters import FrozenModels, make_reference
from likelier.text.cached_decode import check_decodable
from likelier.text.logprobs import compute_sample_logprobs
from likelier.text.models import make_frozen_copy
from likelier.text.prompts import check_prompts, load_prompts
from likelier.text.sampler import Sampler, Samples, Sampling, draw_uniforms
from likelier.text.sharding import is_sharding, shard_causal_lm
from likelier.text.variety import distinct_n
from likelier.training.offload import Offload
from likelier.training.setup import pick_device, seeded_generator


@dataclass(frozen=True)
class HeldOutEval:
    """Measures score, KL (nats per response, temperature 1), length, diversity and judges' scores on held-out prompts.

    Each call uses the same prompts and random numbers, so that differences are due to the policy alone. Responses are
    sampled with the settings of `ppo`.
    """

    prompts: list[Prompt]
    tokenizer: PreTrainedTokenizerBase
    sampler: Sampler
    reference: PreTrainedModel
    scorer: Scorer | None
    """The score that PPO is trained against; None where no `reward` is given."""
    judges: Scorer | None
    config: Config
    knowledge: TokenizedAnswers | None = None
    """The known answers of `eval.knowledge`."""

    offload: Offload = field(default_factory=Offload)
    """Which of the models wait on the CPU."""

    @property
    def texts(self) -> list[Text]:
        """The prompts' texts, which must not be trained on."""
        return [prompt.text for prompt in self.prompts]

    def __call__(self, model: PreTrainedModel) -> dict[str, float]:
        """Sample and score responses of `model`, always with the same random numbers; return metrics by name."""
        with self.offload.bring():
            return self.measure(model)

    @torch.no_grad()
    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """Return the metrics, with all models on the device."""
        ppo, samples = self.config.ppo.model_copy(update={"temperature": 1.0}), self.sample(model)
        logprobs, ref_logprobs = (compute_sample_logprobs(lm, samples, ppo) for lm in (model, self.reference))
        metrics = {"eval_kl": ((logprobs - ref_logprobs) * samples.drawn).sum(1).mean()}
        metrics["eval_response_length"] = samples.drawn.sum(1).float().mean()
        own_scores, correlations = None, {}
        if self.scorer:
            own = judge(self.scorer, self.tokenizer, self.prompts, samples)
            if not own.awaits_people:
                own_scores = self.scorer.combine(own)
                metrics |= {"eval_score": own_scores.mean(), "eval_score_std": own_scores.std(unbiased=False)}
        by_judge = judge(self.judges, self.tokenizer, self.prompts, samples).by_source if self.judges else {}
        for name, judged in by_judge.items():
            scores = judged.only_scored()
            if not len(scores):
                continue  # a judge of other prompts than these
            metrics[f"eval/{name}"], metrics[f"eval_std/{name}"] = scores.mean(), scores.std(unbiased=False)
            if own_scores is not None:
                correlations[f"eval_correlation/{name}"] = correlation(
                    own_scores.cpu()[judged.scored.cpu()], scores.cpu()
                )
        if self.knowledge:
            known = compute_answer_logprobs(model, self.knowledge, self.config.eval.batch_size, bool(ppo.bf16))
            metrics["eval_knowledge"] = torch.tensor(known.mean())
        variety = {"eval_distinct_2": distinct_n(samples.texts, 2), "eval_responses": len(self.prompts)}
        return {name: float(value) for name, value in metrics.items()} | correlations | variety

    def sample(self, model: PreTrainedModel) -> Samples:
        """Sample a response of `model` to each prompt at temperature 1, always with the same random numbers."""
        ppo = self.config.ppo.model_copy(update={"temperature": 1.0})
        generator = seeded_generator(self.config.seed, 0, "evaluate", model.device)
        draws = draw_uniforms(generator, len(self.prompts), ppo.response_length, model.device)
        self.sampler.load_weights(model)
        return self.sampler.sample(self.texts, Sampling.from_config(ppo), draws)

    @torch.no_grad()
    def score_responses(self, model: PreTrainedModel) -> dict[str, Float[Tensor, " B"]]:
        """Sample responses of `model` and return each judge's scores, NaN where it gave none."""
        if self.judges is None:
            return {}
        with self.offload.bring():
            judged = judge(self.judges, self.tokenizer, self.prompts, self.sample(model))
        return {name: scores.with_nan() for name, scores in judged.by_source.items()}


def make_heldout_eval(
    config: Config, stage: SFTConfig | DPOConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> HeldOutEval:
    """Make the evaluation for SFT or DPO; `model` without its adapter becomes the KL reference.

    ConfigError, DataError: no held-out prompts, or no source of scores.
    """
    if not config.reward and not config.eval.scoring:
        raise ConfigError("eval_steps: nothing to measure by; give eval.scorer a judge that scores, or reward")
    check_decodable(model, config.model or "sft.architecture")
    prompts = load_prompts(config).held_out
    check_prompts(
        model, tokenizer, prompts, config.ppo.response_length, "ppo.response_length", config.ppo.max_prompt_tokens
    )
    shards = is_sharding(stage)
    reference = make_frozen_copy(model) if shards else make_reference(model, stage)
    if shards:
        shard_causal_lm(reference, pick_device(stage.device), stage.bf16)
    scorer, judges = (
        make_scorer(sources, stage.device, frozen=FrozenModels(shard=shards)) if sources else None
        for sources in (config.reward, config.eval.scoring)
    )
    check_columns(prompts, scorer, judges)
    check_pictures(prompts, "reward", config.reward)
    check_pictures(prompts, "eval.scorer", config.eval.scoring)
    if scorer:
        check_scored(prompts, scorer)
    sampler = make_sampler(model, tokenizer, config.ppo)
    knowledge = load_answers(config.eval.knowledge, model, tokenizer)
    return HeldOutEval(prompts, tokenizer, sampler, make_reference(model, stage), scorer, judges, config, knowledge)

"""The sampler that the settings name."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config, EvalConfig, PPOConfig
from likelier.engines.sampler_process import SamplerProcess
from likelier.engines.vllm_sampler import EngineSettings, VLLMSampler
from likelier.text.exact_sampler import ExactSampler, load_tools
from likelier.text.sampler import Sampler


def make_sampler(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: PPOConfig | EvalConfig) -> Sampler:
    """The sampler of rollouts and of evaluations, during training and after. ConfigError: vLLM is nowhere."""
    rows, longest, ahead = config.batch_size, None, 0
    if isinstance(config, PPOConfig):
        rows = config.rollout_batch_size or rows
        longest = config.max_prompt_tokens and config.max_prompt_tokens + config.response_length
        ahead = config.async_steps
    if config.sampler == "vllm":
        settings = EngineSettings(config.engine_python, config.engine_args, rows, longest, ahead)
        return VLLMSampler(model, tokenizer, settings)
    return ExactSampler(model, tokenizer, rows, load_tools(config))


def make_rollout_sampler(
    config: Config, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampler: Sampler
) -> Sampler:
    """The sampler of rollouts: that of evaluations, but for our own where it draws ahead of the updates."""
    if config.ppo.async_steps and config.ppo.sampler == "exact":
        return SamplerProcess(config, model, tokenizer)
    return sampler

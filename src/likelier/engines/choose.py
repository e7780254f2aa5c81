"""The sampler that the settings name."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import EvalConfig, PPOConfig
from likelier.engines.vllm_sampler import EngineSettings, VLLMSampler
from likelier.text.exact_sampler import ExactSampler, load_tools
from likelier.text.sampler import Sampler


def make_sampler(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: PPOConfig | EvalConfig) -> Sampler:
    """The sampler of rollouts and of evaluations, during training and after. ConfigError: vLLM is nowhere."""
    rows, longest = config.batch_size, None
    if isinstance(config, PPOConfig):
        rows = config.rollout_batch_size or rows
        longest = config.max_prompt_tokens and config.max_prompt_tokens + config.response_length
    if config.sampler == "vllm":
        return VLLMSampler(model, tokenizer, EngineSettings(config.engine_python, config.engine_args, rows, longest))
    return ExactSampler(model, tokenizer, rows, load_tools(config))

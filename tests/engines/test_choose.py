import pytest

from likelier.config import EvalConfig, PPOConfig
from likelier.engines.choose import make_sampler
from likelier.engines.vllm_sampler import EngineSettings, VLLMSampler
from likelier.errors import ConfigError
from likelier.text.exact_sampler import ExactSampler
from model_families import tiny_model, tiny_tokenizer


@pytest.mark.parametrize("kind", [PPOConfig, EvalConfig])
def test_the_settings_choose_the_sampler(kind, tmp_path):
    model, tokenizer = tiny_model(), tiny_tokenizer()
    ours = make_sampler(model, tokenizer, kind())
    assert isinstance(ours, ExactSampler)
    assert ours.rows == 64
    python = tmp_path / "python"
    python.touch()
    given = {"sampler": "vllm", "engine_python": str(python), "engine_args": {"dtype": "float32"}, "batch_size": 8}
    sampler = make_sampler(model, tokenizer, kind(**given))
    assert isinstance(sampler, VLLMSampler)
    assert sampler.python == python
    assert sampler.settings == EngineSettings(str(python), {"dtype": "float32"}, 8)
    with pytest.raises(ConfigError, match="engine_python: gone: no such file"):
        make_sampler(model, tokenizer, kind(sampler="vllm", engine_python="gone"))


def test_rollouts_of_ppo_have_bounds_of_their_own(tmp_path):
    python = tmp_path / "python"
    python.touch()
    given = {"sampler": "vllm", "engine_python": str(python), "rollout_batch_size": 16}
    config = PPOConfig(max_prompt_tokens=100, response_length=28, **given)
    sampler = make_sampler(tiny_model(), tiny_tokenizer(), config)
    assert sampler.settings == EngineSettings(str(python), {}, 16, 128)


@pytest.mark.parametrize("kind", [PPOConfig, EvalConfig])
def test_settings_that_do_not_go_together(kind):
    for idle in ({"engine_python": "python"}, {"engine_args": {"seed": 1}}):
        with pytest.raises(ValueError, match="would have no effect: sampler is not vllm; remove it"):
            kind(**idle)
    with pytest.raises(ValueError, match="tools: vLLM calls none here; take sampler: exact"):
        kind(sampler="vllm", tools=["likelier.text.calculator:calc"])

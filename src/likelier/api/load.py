"""Load the result of a training run: a language model, a reward model or an agent."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from likelier.errors import ConfigError, DataError
from likelier.files import read_json
from likelier.records import Text
from likelier.reward.ensemble import Ensemble, load_ensemble
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.models import load_tokenizer
from likelier.text.sampler import Sampling, draw_uniforms
from likelier.training.setup import pick_device, seeded_generator


class LanguageModel:
    """A language model with its tokenizer, frozen: `generate` samples from it."""

    def __init__(self, folder: Path, device: str = "auto") -> None:
        """DataError: the folder holds no language model that can be sampled."""
        self.folder = folder
        self.model, self.tokenizer = load_policy(folder, pick_device(device)), load_tokenizer(folder)

    def generate(
        self,
        prompts: Sequence[Text],
        response_length: int = 256,
        temperature: float = 1.0,
        seed: int = 0,
        stop_strings: Sequence[str] = (),
        batch_size: int = 64,
    ) -> list[str]:
        """Sample one response to each prompt from the untruncated distribution.

        A string is continued as is; a list of messages is rendered by the chat template. The same seed gives the
        same responses. ConfigError: not a list of prompts, or no room for a response of that length.
        """
        check_list("generate", "prompts", prompts)
        if response_length < 1 or temperature <= 0:
            raise ConfigError(
                f"generate: response_length {response_length} and temperature {temperature} must be above 0"
            )
        sampling = Sampling(response_length, temperature, tuple(stop_strings))
        generator = seeded_generator(seed, 0, "generate", self.model.device)
        draws = draw_uniforms(generator, len(prompts), response_length, self.model.device)
        return ExactSampler(self.model, self.tokenizer, batch_size).sample(prompts, sampling, draws).texts


class RewardModel:
    """The reward models of a run, or a single one; `score` returns their mean score."""

    def __init__(self, folder: Path, device: str = "auto") -> None:
        """DataError: the folder holds no reward model."""
        self.folder = folder
        self.ensemble: Ensemble = load_ensemble(str(folder), device)

    def score(self, prompts: Sequence[Text], responses: Sequence[str]) -> list[float]:
        """One score for each response; higher is better, and 0 is the mean over the training responses."""
        check_list("score", "prompts", prompts)
        check_list("score", "responses", responses)
        if len(prompts) != len(responses):
            raise ConfigError(f"score: {len(prompts)} prompts for {len(responses)} responses; give one for each")
        scores: list[float] = self.ensemble.score(prompts, responses).tolist() if responses else []
        return scores


class Agent:
    """A trained agent of `train_gym`; `predict` returns its action."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        """`seed` is for sampled actions. DataError, ConfigError: the agent or its environment cannot be rebuilt."""
        from likelier.control.agent import load_agent

        self.folder = folder
        self.act = load_agent(folder, seed)

    def predict(self, observation: Any, deterministic: bool = True, state: Any = None) -> tuple[Any, Any]:
        """(action, state), as Stable-Baselines3 returns them; the state is None unless the policy is recurrent.

        `observation` is one observation of the environment. `deterministic`: the likeliest action, else a sampled one.
        `state` is what the call before it in the same episode returned, None at the episode's start.
        """
        action, state = self.act.predict(observation, deterministic, state)
        return action, state if self.act.config.recurrent else None


def load(folder: str | Path, device: str = "auto") -> LanguageModel | RewardModel | Agent:
    """Load the model in a run folder or model folder: a `LanguageModel`, a `RewardModel` or an `Agent`.

    DataError: there is no such folder, it holds no model, or its model cannot be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder of a run or of a model")
    model = folder if (folder / "config.json").is_file() else folder / "model"
    if not (model / "config.json").is_file():
        raise DataError(f"{folder}: holds no model; give the folder of a finished run or of a model")
    config = read_json(model / "config.json")
    if "env_id" in config:
        return Agent(model)
    architectures = config.get("architectures") or []
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return RewardModel(folder, device)  # of a run: all its models
    return LanguageModel(model, device)


def check_list(function: str, name: str, values: Any) -> None:
    """ConfigError: a single text or conversation where a list of them is expected."""
    if isinstance(values, str) or any(isinstance(value, dict) for value in values):
        raise ConfigError(f"{function}: {name} is one text or conversation; give a list of them")

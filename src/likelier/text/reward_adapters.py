"""Several LoRA adapters with a head each on one frozen base: an ensemble that holds the base once."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from likelier.config import LoRA
from likelier.errors import DataError, LikelierError
from likelier.files import read_object
from likelier.records import Text
from likelier.runs.folder import find_base
from likelier.text.adapter_folders import Adapter, check_settings, read_adapter
from likelier.text.adapters import (
    FrozenBase,
    FrozenModels,
    add_adapter,
    copy_sharing_weights,
    put_adapter_on,
    save_adapter,
)
from likelier.text.attribution import Attribution
from likelier.text.chat_template import KWARGS, set_template_kwargs
from likelier.text.convention import mark_made
from likelier.text.frozen_weights import store_weights
from likelier.text.merging import make_plain
from likelier.text.models import find_own_dtype, load_safely, load_tokenizer, prepare_config, save_model
from likelier.text.reward_heads import set_heads
from likelier.text.reward_model import (
    Reading,
    RewardModel,
    find_score_head,
    init_score_head,
    new_reward_model,
)
from likelier.training.precision import full_precision


class RewardAdapter:
    """One adapter and its head, of several on a base that they share."""

    def __init__(self, reward: RewardModel, name: str, row: int) -> None:
        """`row`: of its head among those of `reward`."""
        self.reward, self.name, self.row = reward, name, row

    def read(self, prompts: Sequence[Text], responses: Sequence[str]) -> Reading:
        """Read responses with this adapter, in the order given."""
        self.reward.model.set_adapter(self.name)
        reading = self.reward.read(prompts, responses)
        return Reading(reading.scores[self.row : self.row + 1], reading.features)

    def score(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        """Scores of responses, in the order given."""
        return self.read(prompts, responses).scores[0]

    def features(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, "B D"]:
        """Inputs of the last layer, in the order given."""
        return self.read(prompts, responses).features

    def attribute(self, prompt: Text, response: str) -> Attribution:
        """Return the part of each token in the score of this adapter."""
        self.reward.model.set_adapter(self.name)
        return self.reward.attribute(prompt, response, self.row)


def add_reward_adapter(reward: RewardModel, lora: LoRA, generator: torch.Generator) -> None:
    """Freeze a reward model but for its head and layers that are as new, and add an adapter.

    ConfigError: see `add_adapter`.
    """
    add_adapter(reward.model, lora, "reward_model", generator, list_whole_layers(reward))


def continue_adapter(reward: RewardModel, lora: LoRA, adapter: Adapter) -> None:
    """Freeze a base, and put an adapter and its head on it to train them further.

    ConfigError: the settings ask for another adapter. DataError: see `put_reward_adapter_on`.
    """
    check_settings(adapter, lora, "reward_model")
    head = put_reward_adapter_on(reward, adapter, "default")
    set_heads(reward, head["weight"], head.get("bias"))
    reward.model.requires_grad_(False)
    for name, weight in reward.model.named_parameters():
        weight.requires_grad_(
            "lora_" in name or name.startswith(tuple(f"{layer}." for layer in list_whole_layers(reward)))
        )
    reward.eval()


def load_merged_reward(folder: str, device: torch.device | str, max_length: int | None) -> RewardModel:
    """Load the base of an adapter in float32, with the adapter merged into it, all of it to be trained."""
    (member,) = load_reward_adapters([folder], device)
    model = make_plain(member.reward.model, torch.float32, Path(folder))
    model.requires_grad_(True)
    return RewardModel(model, member.reward.tokenizer, max_length).to(device).eval()


def share_trunk(base: FrozenBase, device: torch.device | str, tokenizer_folder: str) -> RewardModel | None:
    """Return a reward model on the very weights of a model in memory, with a new head and the tokenizer of a folder.

    None if it has other layers than its trunk and a head, or is elsewhere: it must then be loaded for itself.
    """
    with load_safely(base.name) as options, torch.device("meta"):
        config = prepare_config(AutoConfig.from_pretrained(base.name, num_labels=1, **options))
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    trunk = copy_sharing_weights(base.model).base_model
    if type(model.base_model) is not type(trunk) or base.model.device.type != torch.device(device).type:
        return None
    setattr(model, model.base_model_prefix, trunk)
    find_score_head(model).to_empty(device=base.model.device)
    init_score_head(model, None)
    if any(tensor.is_meta for tensor in chain(model.parameters(), model.buffers())):
        return None
    tokenizer = load_tokenizer(tokenizer_folder)
    mark_made(tokenizer)
    return RewardModel(model.eval(), tokenizer)


def put_reward_adapter_on(reward: RewardModel, adapter: Adapter, name: str) -> dict[str, Tensor]:
    """Add an adapter under a name, with the layers that it holds whole; returns the weights of its head.

    DataError: it has none, or is not of this model.
    """
    put_adapter_on(reward.model, adapter, name)
    head = dict(adapter.layers.get(reward.head_name, {}))
    if "weight" not in head or head["weight"].shape != (1, reward.head.in_features):
        raise DataError(
            f"{adapter.folder}: not an adapter of a reward model on this base; train the reward model again"
        )
    try:
        load_whole_layers(reward, adapter)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{adapter.folder}: {reason}; train the reward model again") from error
    return head


def expect_whole_layers(reward: RewardModel, adapter: Adapter) -> None:
    """Let a reward model know which layers besides its head an adapter holds whole, before its base is stored."""
    begin = reward.head_name.partition(".")[0]
    found = [layer for layer in adapter.layers if adapter.trains(layer) and not f"{layer}.".startswith(f"{begin}.")]
    reward.new_layers = sorted({*reward.new_layers, *found})


def list_whole_layers(reward: RewardModel) -> list[str]:
    """Return the layers that an adapter holds whole, since its base does not: the head, and others that are new.

    Of a head of several layers it is their parent, which peft wraps by itself and must not wrap twice.
    """
    head = reward.head_name.partition(".")[0]
    return [head, *(layer for layer in reward.new_layers if not layer.startswith(f"{head}."))]


def save_reward_adapter(folder: Path, base: str, reward: RewardModel) -> None:
    """Write adapter and head as peft reads them."""
    save_adapter(folder, base, reward.model, reward.tokenizer, list_whole_layers(reward))


def save_merged_reward(folder: Path, base: str, adapter: Path, reward: RewardModel, card: str) -> None:
    """Write a plain reward model, the adapter merged into its base, in the type of the base's folder.

    LikelierError: it scores a short text otherwise than `reward`, which was trained. `adapter` is named by the message.
    """
    merged = make_plain(reward.model, find_own_dtype(base), adapter)
    alone = RewardModel(merged, reward.tokenizer)
    texts, answers = ["", "a"], ["a b c", "1"]
    with full_precision():
        ours, theirs = reward.score(texts, answers), alone.score(texts, answers)
    tolerance = max(1e-3, torch.finfo(merged.dtype).eps ** 0.5)
    if not torch.allclose(ours, theirs.float(), rtol=tolerance, atol=tolerance, equal_nan=True):
        off = float((ours - theirs).abs().max())
        raise LikelierError(
            f"{adapter}: merged into its base it scores up to {off:.2g} from the model that was trained; no merged "
            "model is written"
        )
    save_model(folder, merged, reward.tokenizer, card)


def load_reward_adapters(
    folders: Sequence[str],
    device: torch.device | str = "cpu",
    frozen: FrozenModels = FrozenModels(),  # noqa: B008 - frozen
) -> list[RewardAdapter]:
    """Load the adapters of a reward run onto one base, in memory already if it is among those of `frozen`.

    DataError: the base is gone, or weights do not fit it.
    Layers that the base lacks belong to an adapter too; several adapters have none, see `prepare_ensemble`.
    """
    base = find_base(Path(folders[0]))
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise DataError(
            f"{folders[0]}: its base {base} is not there; put it back, or give the merged model "
            f"({Path(folders[0]).with_name('model')})"
        )
    adapters = [read_adapter(Path(folder), is_classifier=True) for folder in folders]
    dtype = frozen.dtype or read_object(Path(folders[0]) / "card.json").get("model_dtype", "float32")
    bases = [each for each in frozen.bases if each.dtype == dtype and each.is_base_of(Path(folders[0]))]
    shared = share_trunk(bases[0], device, folders[0]) if bases else None
    if shared is not None:
        expect_whole_layers(shared, adapters[0])
        shared = None if shared.new_layers else shared
    reward = shared or new_reward_model(base, tokenizer_folder=folders[0])
    if shared is None:
        expect_whole_layers(reward, adapters[0])
        store_weights(reward.model, dtype, list_whole_layers(reward))
    if len(adapters) > 1 and reward.new_layers:
        raise DataError(f"{folders[0]}: holds {reward.new_layers[0]} whole, which each of several adapters would need")
    names = [f"member-{number}" for number in range(len(folders))]
    template_kwargs = read_object(Path(folders[0]) / "tokenizer_config.json").get(KWARGS)
    set_template_kwargs(reward.tokenizer, template_kwargs if isinstance(template_kwargs, dict) else {})
    heads = [put_reward_adapter_on(reward, adapter, name) for name, adapter in zip(names, adapters, strict=True)]
    biases = [head["bias"] for head in heads if "bias" in head]
    set_heads(reward, torch.cat([head["weight"] for head in heads]), torch.cat(biases) if biases else None)
    reward = reward.to(device).eval()
    return [RewardAdapter(reward, name, row) for row, name in enumerate(names)]


@torch.no_grad()
def load_whole_layers(reward: RewardModel, adapter: Adapter) -> None:
    """Load the layers besides the head that an adapter holds whole.

    RuntimeError: one is missing, does not fit, or is another than the base's without having been trained.
    """
    weights = {f"{layer}.{name}": value for layer, held in adapter.layers.items() for name, value in held.items()}
    own = dict(reward.model.named_parameters())
    starts = tuple(f"{layer}." for layer in list_whole_layers(reward))
    for name, weight in own.items():
        if name.startswith(starts) and not name.startswith(f"{reward.head_name}."):
            if name not in weights or weights[name].shape != weight.shape:
                raise RuntimeError(f"it holds no weights for {name}")
            weight.copy_(weights[name])
    others = {name: value for name, value in weights.items() if not name.startswith(starts)}
    for name, value in others.items():  # peft wrote them beside an adapter on embeddings
        if name not in own or not torch.equal(own[name].cpu(), value.to(own[name].dtype)):
            raise RuntimeError(f"{name} differs from its base and is not in modules_to_save")

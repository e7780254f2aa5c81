"""Tiny vision-language models with random weights, their processors, and prompt files with pictures."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from likelier.files import write_jsonl
from media_files import image

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<fake_token_around_image>", "<global-img>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}{{ turn.role }}: {% for part in turn.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
TEXT: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION: dict[str, Any] = {**TEXT, "image_size": 16, "patch_size": 4}


def make_tokenizer() -> Any:
    """One token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({name: at for at, name in enumerate([*SPECIAL, *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    made.add_special_tokens({"additional_special_tokens": list(SPECIAL[4:])})
    return made


def save_llava(folder: Path) -> Path:
    """LLaVA, every picture 16 places wide."""
    tokenizer = make_tokenizer()
    size = {"size": {"height": 16, "width": 16}, "do_center_crop": False}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(**size),
        tokenizer=tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=CHAT_TEMPLATE,
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=16),
        text_config=LlamaConfig(**TEXT, vocab_size=len(tokenizer), max_position_embeddings=256),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    return save(folder, LlavaForConditionalGeneration, config, processor)


def save_idefics3(folder: Path) -> Path:
    """Idefics3, as SmolVLM is built: a picture is cut into as many tiles as it needs, and stands as a whole beside."""
    tokenizer = make_tokenizer()
    sizes = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(**sizes),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=CHAT_TEMPLATE,
    )
    config = Idefics3Config(
        vision_config=VISION,
        text_config=LlamaConfig(**TEXT, vocab_size=len(tokenizer), max_position_embeddings=512).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    return save(folder, Idefics3ForConditionalGeneration, config, processor)


def save(folder: Path, kind: Any, config: Any, processor: Any) -> Path:
    """Write a model with random weights, large enough that a picture matters, and its processor."""
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0)
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


FAMILIES = {"llava": save_llava, "idefics3": save_idefics3}


def ask(path: str, text: str = "How many?") -> list[dict[str, Any]]:
    """A user's turn with a picture before the text."""
    return [{"role": "user", "content": [{"type": "image", "path": path}, {"type": "text", "text": text}]}]


def write_prompts(folder: Path) -> Path:
    """Four prompts: three with pictures of other sizes, one without; one text is longer than the others."""
    (folder / "pictures").mkdir(parents=True)
    for name, size in (("red", (20, 30)), ("green", (64, 48)), ("blue", (16, 16))):
        (folder / "pictures" / f"{name}.png").write_bytes(image(name, size=size))
    prompts = [
        {"prompt": ask("pictures/red.png"), "reference": "1"},
        {"prompt": ask("pictures/green.png", "How many discs?"), "reference": "2"},
        {"prompt": ask("pictures/blue.png"), "reference": "3"},
        {"prompt": [{"role": "user", "content": "Hello"}], "reference": "4"},
    ]
    write_jsonl(folder / "prompts.jsonl", prompts)
    return folder / "prompts.jsonl"


def open_pictures(prompt: Any) -> Any:
    """Messages of a prompt file as transformers takes them, with the pictures opened; paths are those of Likelier."""
    return [
        {
            "role": turn["role"],
            "content": [
                {"type": "image", "image": Image.open(part["path"]).convert("RGB")} if part["type"] == "image" else part
                for part in (
                    [{"type": "text", "text": turn["content"]}] if isinstance(turn["content"], str) else turn["content"]
                )
            ],
        }
        for turn in prompt
    ]

"""The model over a growing cache, with padding and dropped rows, against the whole text at once."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from likelier.errors import ConfigError
from likelier.text.cached_decode import CachedDecoder, check_decodable, check_decodable_with_pictures, find_positions
from likelier.text.pictures import PictureInputs, PromptPictures
from model_families import SIZES, VOCABULARY, tiny_model

STATES = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize("family", SIZES)
@pytest.mark.parametrize("padded", [False, True])
def test_steps_add_up_to_the_whole_text(family: str, padded: bool) -> None:
    model, draw = tiny_model(family), torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 64, (4, 12), generator=draw)
    mask = (
        torch.arange(5).flip(0) < torch.tensor([[5], [2], [1], [4]]) if padded else torch.ones(4, 5, dtype=torch.bool)
    )
    rows = torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        decoder = CachedDecoder(model, mask, max_new_tokens=7, bf16=False)
        logits = decoder.prefill(tokens[:, :5])
        for at in range(5, 12):
            if at == 8:
                kept = torch.tensor([3, 1])
                decoder.keep_rows(kept)
                rows = rows[kept]
            logits = decoder.step(tokens[rows, at])
        for row, found in zip(rows.tolist(), logits, strict=True):
            real = torch.cat([mask[row], torch.ones(7, dtype=torch.bool)])
            assert torch.allclose(found, model(input_ids=tokens[row][real][None]).logits[0, -1], atol=1e-3)


@pytest.mark.parametrize("family", SIZES)
def test_families_that_can_be_decoded_pass_the_check(family: str) -> None:
    check_decodable(tiny_model(family), family)


def test_attention_beside_convolutions_is_decoded_with_dropped_rows() -> None:
    """transformers' layer of such states cannot select rows of a batch, only reorder them."""
    layers = {"num_key_value_heads": 1, "layer_types": ["conv", "full_attention"]}
    config = AutoConfig.for_model("lfm2", vocab_size=VOCABULARY, **LAYERS, **layers)
    check_decodable(AutoModelForCausalLM.from_config(config).eval(), "lfm2")


@pytest.mark.parametrize(("family", "shape"), [("mamba", STATES), ("bert", LAYERS)])
def test_models_that_cannot_be_decoded_are_named_with_the_remedy(family: str, shape: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, vocab_size=VOCABULARY, **shape)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)  # far from flat
    with pytest.raises(ConfigError, match=f"^here/it: {family}: it cannot be sampled from; give a Transformer decoder"):
        check_decodable(model, "here/it")


def test_positions_by_time_height_and_width_go_on_behind_a_picture():
    """Qwen2-VL counts a picture of 4 x 2 places as 4 positions: what follows stands at 2 + 4, not at 2 + 8."""
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 4, "mlp_ratio": 1}
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"num_key_value_heads": 2, "vocab_size": 32}
    text["rope_parameters"] = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
    ids = {"image_token_id": 9, "video_token_id": 10, "vision_start_token_id": 11, "vision_end_token_id": 12}
    torch.manual_seed(0)
    config = Qwen2VLConfig(vision_config=vision, text_config=text, **ids)
    model = Qwen2VLForConditionalGeneration(config).eval()
    tokens = torch.tensor([[3, 11, *[9] * 8, 12, 4, 5]])
    tensors = {"pixel_values": torch.randn(32, 96), "image_grid_thw": torch.tensor([[1, 8, 4]])}
    pictures = PictureInputs([PromptPictures(("a",), tensors)], 9, ("mm_token_type_ids",))
    inputs = pictures.join(tokens)
    positions = find_positions(model, tokens, torch.ones_like(tokens).bool(), inputs)
    assert positions[:, 0, -3:].tolist() == [[6, 7, 8]] * 3
    check_decodable_with_pictures(model, "qwen", tokens, pictures)

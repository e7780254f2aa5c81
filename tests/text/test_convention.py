"""Models that Likelier made before keep how their texts begin and end; others follow their tokenizer and template."""

from pathlib import Path

import pytest

from likelier.files import write_json
from likelier.runs.older import go_on_from
from likelier.runs.record import NOT_COMPARED
from likelier.text.convention import ALWAYS_BEGIN, AS_TOKENIZER, MARK, always_begins, is_made_here
from likelier.text.models import load_tokenizer, save_model
from likelier.text.reward_model import load_reward_model, new_reward_model
from likelier.text.tokens import encode
from model_families import tiny_model, tiny_tokenizer

CARD = "# model\n\n- architecture: LlamaForCausalLM\n- made with: likelier\n"


def save_elsewhere(folder: Path) -> None:
    """A model folder as another program writes it; its tokenizer has a beginning token and adds it nowhere."""
    tokenizer = tiny_tokenizer(bos=None)
    tokenizer.add_special_tokens({"bos_token": "<pad>"})
    tiny_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_a_model_made_before_is_known_by_its_card_and_hands_its_mark_on(tmp_path: Path) -> None:
    save_elsewhere(tmp_path / "before")
    (tmp_path / "before" / "README.md").write_text(CARD)
    tokenizer = load_tokenizer(tmp_path / "before")
    assert always_begins(tokenizer)
    assert encode(tokenizer, ["ab"]) == [[0, 3, 4]]
    save_model(tmp_path / "trained", tiny_model(), tokenizer, "")
    assert load_tokenizer(tmp_path / "trained").init_kwargs[MARK] == ALWAYS_BEGIN
    reward = new_reward_model(tmp_path / "trained")
    assert reward.encode(["a"], ["b"])[0].tolist() == [[0, 3, 4, 1]]


def test_a_model_trained_now_follows_its_tokenizer_though_its_card_says_the_same(tmp_path: Path) -> None:
    save_elsewhere(tmp_path / "elsewhere")
    tokenizer = load_tokenizer(tmp_path / "elsewhere")
    assert not is_made_here(tokenizer)
    save_model(tmp_path / "trained", tiny_model(), tokenizer, "")
    assert CARD.splitlines()[-1] in (tmp_path / "trained" / "README.md").read_text().splitlines()
    trained = load_tokenizer(tmp_path / "trained")
    assert trained.init_kwargs[MARK] == AS_TOKENIZER
    assert encode(trained, ["ab"]) == [[3, 4]]


@pytest.mark.parametrize("card", [None, "A model trained with likelier's data; made with: likelier and care."])
def test_a_card_that_only_mentions_it_is_no_mark(tmp_path: Path, card: str | None) -> None:
    save_elsewhere(tmp_path / "model")
    if card:
        (tmp_path / "model" / "README.md").write_text(card)
    assert not is_made_here(load_tokenizer(tmp_path / "model"))


def test_a_new_reward_model_reads_the_end_token_behind_plain_texts(tmp_path: Path) -> None:
    save_elsewhere(tmp_path / "base")
    reward = new_reward_model(tmp_path / "base")
    assert reward.encode(["a"], ["b"])[0].tolist() == [[3, 4, 1]]
    save_model(tmp_path / "reward", reward.model, reward.tokenizer, "")
    assert load_reward_model(tmp_path / "reward").encode(["a"], ["b"])[0].tolist() == [[3, 4, 1]]


def test_a_run_that_an_older_version_began_reads_its_models_as_before(tmp_path: Path) -> None:
    save_elsewhere(tmp_path / "model")
    run = tmp_path / "run"
    run.mkdir()
    for changes, expected in (([], [3, 4]), ([{"step": 2, **NOT_COMPARED}], [0, 3, 4])):
        write_json(run / "run.json", {"verb": "sft", "changes": changes})
        with go_on_from(run / "checkpoint-4"):
            assert encode(load_tokenizer(tmp_path / "model"), ["ab"]) == [expected]
        with go_on_from(None):
            assert encode(load_tokenizer(tmp_path / "model"), ["ab"]) == [[3, 4]]
    assert not is_made_here(load_tokenizer(tmp_path / "model"))

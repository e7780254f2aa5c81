"""A VAE's latent space as PPO's actions: where it starts, its loss, and a short run beside the diffusion model."""

import json
import sys

import numpy as np
import pytest
import torch
import vae_pictures as example

from likelier.cli import run_script
from likelier.images import diffusion, reward_model
from likelier.images.chain import path_kl, sample_trajectories


def test_latents_are_standard_normal_until_ppo_moves_them():
    torch.manual_seed(0)
    start, moved = example.VAE(), example.VAE()
    torch.nn.init.constant_(moved.move[2].bias, 0.1)
    drawn = sample_trajectories(start, start, 5000, torch.Generator().manual_seed(0))
    latents = drawn.actions[:, 0]
    assert latents.mean(0).abs().max() < 0.06
    assert (latents.std(0) - 1).abs().max() < 0.04
    assert torch.equal(drawn.pictures, start.finish(latents))
    # Eight means that are 0.1 apart, at a variance of 1/2: 8 * 0.01 / (2 * 0.5).
    assert path_kl(moved, start, drawn.states[:3]).tolist() == [pytest.approx([0.08])] * 3


def test_the_loss_is_the_bound_by_hand():
    model, pictures = example.VAE(), torch.full((2, 64), 0.6)
    for part in (model.encoder[2], model.decoder[4]):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    # The decoder says 0, with a spread of 0.3: 64 * 0.36 / 0.18; the encoder says N(0, 1), at no cost.
    assert model.loss(pictures, torch.Generator().manual_seed(0)).item() == pytest.approx(128.0, rel=1e-5)


def test_answers_follow_the_taste(tmp_path, monkeypatch):
    monkeypatch.setattr(reward_model, "MAX_STEPS", 25)
    torch.manual_seed(0)
    _, measured = example.learn_from_comparisons(example.VAE(), 50, 0, tmp_path, lambda ink: ink.mean(1) * 100)
    assert measured["pairs"] == 200
    assert measured["accuracy"] > 0.55
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 40


@pytest.mark.slow
def test_a_short_run_of_both(tmp_path, monkeypatch, capsys):
    short = {"total_episodes": 128, "num_eval_prompts": 50, "eval_steps": 1}
    monkeypatch.setattr(example, "PPO", {name: values | short for name, values in example.PPO.items()})
    monkeypatch.setattr(reward_model, "MAX_STEPS", 25)
    monkeypatch.setattr(example, "train_vae", lambda seed, train=example.train_vae: train(seed, steps=100))
    monkeypatch.setattr(example, "open_start", lambda *words: diffusion.open_start(*words, steps=50))
    monkeypatch.setattr(sys, "argv", ["vae_pictures.py", "--answers", "50", "--out", str(tmp_path / "run")])
    assert run_script(example.main) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["model"] for line in lines] == ["vae", "diffusion"]
    assert all(np.isfinite([line["taste"], line["kl"]]).all() for line in lines)

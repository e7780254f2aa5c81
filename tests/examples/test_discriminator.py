"""The discriminator's logit beside the exact KL of short texts, and an arm of the comparison in short."""

import discriminator as example
import pytest
import torch

from likelier.images.diffusion import Diffusion
from likelier.images.scores import measure_ink


def test_its_logit_is_near_the_exact_kl_of_texts():
    found = example.compare_with_exact_kl(seed=0, shift=0.7, steps=500)
    assert found["exact"] == pytest.approx(0.4505, abs=1e-3)
    assert found["estimate"] == pytest.approx(found["exact"], rel=0.4)


@pytest.mark.slow
def test_an_arm_counts_the_nats_until_a_level_is_reached(tmp_path, monkeypatch):
    monkeypatch.setattr(example, "STEPS", 2)
    monkeypatch.setattr(example, "LEVELS", (0.0, 2.0))
    short = {"num_eval_prompts": 50, "eval_steps": 1, "learning_rate": 1e-3}
    monkeypatch.setattr(example, "PPO", {"diffusion": example.PPO["diffusion"] | short})
    torch.manual_seed(0)
    found = example.run_arm("data", Diffusion(64), measure_ink, 0, tmp_path / "run")
    assert found["kl_at"] == {0.0: 0.0, 2.0: None}
    assert found["kl"] > 0
    assert found["logit"] is not None

"""What stands wrong in the settings."""

from broken_metrics import history
from likelier.doctor.findings import settings


def test_gamma_beside_a_kl_penalty():
    found = settings.gamma_with_kl(history({"gamma": 0.95}))
    assert "counts 14 %" in found.evidence  # 0.95^39
    assert settings.gamma_with_kl(history()) is None
    assert settings.gamma_with_kl(history({"gamma": 0.95, "kl_coef": 0.0})) is None
    assert settings.gamma_with_kl(history({"gamma": 0.95, "loss": "l.py:f"})) is None  # nobody knows its penalty


def test_estimator_misplaced():
    assert "k3" in settings.estimator_misplaced(history({"kl_estimator": "k3"})).evidence
    assert settings.estimator_misplaced(history()) is None
    assert settings.estimator_misplaced(history({"loss": "l.py:f", "loss_aggregation": "sequence"})) is None
    assert settings.estimator_misplaced(history({"kl_estimator": "k2", "kl_coef": 0.0})) is None

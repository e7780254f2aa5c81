"""The folder of a circle: held by one process, cleaned of litter, named when a signal ends the work in it."""

import pytest

from likelier.errors import ConfigError, DataError, Stopped, Terminated
from likelier.files import write_json
from likelier.runs.lock import lock_folder

ASKED = ["likelier", "circle", "mine.yaml"]


def stopped_by(error, folder):
    """A circle that is stopped once there are candidates; what it says."""
    with pytest.raises(Stopped) as caught, lock_folder(folder):
        write_json(folder / "round-1" / "candidates.json", {})
        raise error
    return caught.value.exit_code, str(caught.value)


def test_a_circle_that_is_stopped_names_its_own_folder_and_not_that_of_a_stage(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ASKED)
    line = f"stopped; go on with: likelier circle mine.yaml --out {tmp_path / 'out'} --resume auto"
    for error, code in (
        (Stopped("stopped after step 3; go on with: --out out/round-1/policy", 75), 75),
        (Stopped("stopped before the first checkpoint", 143), 75),
        (Stopped("stopped after step 3", 130), 130),
        (KeyboardInterrupt(), 130),
        (Terminated(), 75),
    ):
        assert stopped_by(error, tmp_path / "out") == (code, line)


def test_a_model_of_pictures_that_has_begun_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["likelier", "demo", "--images", "--people"])
    with pytest.raises(Stopped, match="go on with: likelier demo --images --people --out"), lock_folder(tmp_path / "a"):
        (tmp_path / "a" / "start").mkdir()
        raise KeyboardInterrupt
    assert (tmp_path / "a").is_dir()


def test_a_circle_that_ends_before_anything_was_sampled_leaves_nothing(tmp_path):
    for error in (DataError("no such model"), KeyboardInterrupt(), Terminated()):
        with pytest.raises(type(error)), lock_folder(tmp_path / "runs" / "mine-1"):
            (tmp_path / "runs" / "mine-1" / "round-1").mkdir()
            raise error
        assert not (tmp_path / "runs").exists()


def test_one_circle_a_folder_and_no_litter_of_a_killed_one(tmp_path):
    (tmp_path / "round-1").mkdir()
    (tmp_path / "round-1" / ".check.json.77.tmp").write_text("{")
    with lock_folder(tmp_path):
        assert list((tmp_path / "round-1").iterdir()) == []
        with pytest.raises(ConfigError, match="another process"), lock_folder(tmp_path):
            pass


def test_an_empty_folder_that_the_user_made_stays_empty_after_a_failed_start(tmp_path):
    with pytest.raises(DataError), lock_folder(tmp_path):
        (tmp_path / "round-1").mkdir()
        (tmp_path / "feedback.db").write_text("")
        raise DataError("no such model")
    assert list(tmp_path.iterdir()) == []

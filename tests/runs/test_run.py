"""Run folders: whole checkpoints, logs without gaps or doubles, refusals in one line."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from likelier.config import build_config
from likelier.errors import ConfigError, DataError, LikelierError, Stopped
from likelier.files import read_json, write_json
from likelier.runs.checkpoints import find_damage, find_newest_checkpoint, list_checkpoints, write_checkpoint
from likelier.runs.run import Run

CONFIG = build_config({"sft": {"save_steps": 2, "save_total_limit": 2}})


def write_weights(text):
    return lambda folder: (folder / "weights.json").write_text(text)


def train(folder, steps, resume="never", stop_after=None, config=CONFIG):
    with Run(folder, "sft", config, resume) as run:
        for step in range(run.start, steps):
            run.log(step + 1, {"loss": 1.0 / (step + 1)}, [{"prompt": "p", "response": str(step)}], {"seconds": 0.1})
            if step + 1 == stop_after:
                raise KeyboardInterrupt
            run.end_step(step + 1, steps, write_weights(f"step {step + 1}"))
        return run.finish({"steps": steps})


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_resumed_log_equals_the_uninterrupted_one(tmp_path):
    train(tmp_path / "whole", 6)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", 6, stop_after=5)
    assert [line["step"] for line in lines(tmp_path / "killed/metrics.jsonl")] == [1, 2, 3, 4, 5]
    train(tmp_path / "killed", 6, resume="auto")
    for name in ("metrics.jsonl", "samples.jsonl", "config.yaml"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (tmp_path / "killed/checkpoint-6/weights.json").read_text() == "step 6"
    assert (tmp_path / "killed/latest").read_text() == "checkpoint-6\n"


def test_a_setting_that_is_newer_than_the_run_counts_as_its_default(tmp_path):
    train(tmp_path, 4)
    path = tmp_path / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    del settings["sft"]["weight_decay"]
    path.write_text(yaml.safe_dump(settings))
    other = build_config({"sft": {"save_steps": 2, "weight_decay": 0.1}})
    with pytest.raises(ConfigError, match="started with sft.weight_decay=0.0, not 0.1; use another"):
        train(tmp_path, 6, "auto", config=other)
    assert train(tmp_path, 6, "auto")["steps"] == 6
    assert yaml.safe_load(path.read_text())["sft"]["weight_decay"] == 0.0


def test_a_new_run_that_fails_before_its_first_step_leaves_nothing(tmp_path):
    with pytest.raises(DataError), Run(tmp_path / "run", "sft", CONFIG):
        raise DataError("no such file")
    assert not (tmp_path / "run").exists()


def test_the_parents_that_a_failing_run_made_go_too_unless_something_came_into_them(tmp_path):
    with pytest.raises(DataError), Run(tmp_path / "runs" / "a-1", "sft", CONFIG):
        raise DataError("no such file")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError, match="File name too long"):
        Run(tmp_path / "runs" / ("a" * 300), "sft", CONFIG)
    assert not (tmp_path / "runs").exists()
    with pytest.raises(DataError), Run(tmp_path / "runs" / "a-1", "sft", CONFIG):
        (tmp_path / "runs" / "b-1").mkdir()
        raise DataError("no such file")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["b-1"]


def test_a_failing_run_removes_nothing_that_was_there(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError), Run(tmp_path, "sft", CONFIG, "auto"):
        raise DataError("no such file")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    train(tmp_path, 7)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-7", "checkpoint-6"]


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, 4, stop_after=1)
    train(tmp_path, 4, resume="auto")
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_what_a_killed_process_was_writing_goes_when_the_run_goes_on(tmp_path):
    train(tmp_path, 2)
    (tmp_path / "tmp-3-77").mkdir()
    (tmp_path / ".model.tmp").mkdir()
    (tmp_path / ".latest.77.tmp").write_text("checkpoint-3")
    train(tmp_path, 2, resume="auto")
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


def test_folder_that_is_not_empty_is_refused_without_resume(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        train(tmp_path, 2)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_folder_in_use_is_refused(tmp_path):
    with Run(tmp_path, "sft", CONFIG), pytest.raises(ConfigError, match="another process"):
        Run(tmp_path, "sft", CONFIG, "auto")


def test_resume_with_another_setting_names_it(tmp_path):
    train(tmp_path, 2)
    other = build_config({"sft": {"save_steps": 2, "learning_rate": 0.5}})
    with pytest.raises(ConfigError, match=r"sft.learning_rate=0.0001, not 0.5"):
        train(tmp_path, 4, resume="auto", config=other)
    train(tmp_path, 4, resume="auto", config=build_config({"sft": {"save_steps": 1}}))


def test_failed_save_leaves_the_older_checkpoint_and_no_litter(tmp_path):
    write_checkpoint(tmp_path, 1, write_weights("good"))

    def fail(folder):
        (folder / "weights.json").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_checkpoint(tmp_path, 2, fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "latest"]
    assert find_newest_checkpoint(tmp_path) == tmp_path / "checkpoint-1"


def test_full_disk_while_a_run_is_opened_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("likelier.runs.run.write_json", full)
    with pytest.raises(LikelierError, match="No space left on device"), Run(tmp_path / "run", "sft", CONFIG):
        pass
    assert not (tmp_path / "run").exists()


def test_full_disk_during_a_save_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("likelier.runs.checkpoints.sync_file", full)
    with pytest.raises(LikelierError, match="No space left on device.*make room") as caught:
        train(tmp_path, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "weights.json").write_text("step 3"), "damaged"),
        (lambda folder: (folder / "weights.json").write_text("step"), "damaged"),
        (lambda folder: (folder / "weights.json").unlink(), "missing"),
        (lambda folder: (folder / "MANIFEST.json").unlink(), "no MANIFEST"),
        (lambda folder: (folder / "MANIFEST.json").write_text("{"), "MANIFEST.json is damaged"),
        (lambda folder: (folder / "MANIFEST.json").write_text("{}"), "MANIFEST.json is damaged"),
        (lambda folder: (folder / "MANIFEST.json").write_text('{"step": 4, "files": {}}'), "names no files"),
        (lambda folder: (folder / "MANIFEST.json").write_text('{"step": 4, "files": [1], "run_id": 3}'), "is damaged"),
        (lambda folder: folder.rename(folder.with_name("checkpoint-9")), "of step 4"),
    ],
)
def test_bad_checkpoint_is_named_and_the_older_one_taken(tmp_path, capsys, spoil, reason):
    train(tmp_path, 4)
    spoil(tmp_path / "checkpoint-4")
    assert find_newest_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert reason in capsys.readouterr().err


def test_resume_from_a_named_bad_checkpoint_is_refused(tmp_path):
    train(tmp_path, 2)
    (tmp_path / "checkpoint-2/weights.json").write_text("?")
    with pytest.raises(DataError, match=r"cannot resume: weights.json is damaged"):
        train(tmp_path, 4, resume=str(tmp_path / "checkpoint-2"))


def test_whole_checkpoint_has_no_damage(tmp_path):
    assert find_damage(write_checkpoint(tmp_path, 3, write_weights("w"))) is None


def test_non_finite_metrics_become_null(tmp_path):
    with Run(tmp_path, "sft", CONFIG) as run:
        run.log(1, {"loss": float("nan"), "grad_norm": float("inf")})
    assert lines(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": None, "grad_norm": None}]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_signal_saves_at_the_end_of_the_step(tmp_path, number, code):
    with (
        pytest.raises(Stopped, match="stopped after step 1; go on with: likelier .*--resume auto") as caught,
        Run(tmp_path, "sft", CONFIG) as run,
    ):
        os.kill(os.getpid(), number)
        run.end_step(1, 10, write_weights("step 1"))
    assert caught.value.exit_code == code
    assert find_newest_checkpoint(tmp_path) == tmp_path / "checkpoint-1"


def test_second_interrupt_stops_at_once(tmp_path):
    with pytest.raises(Stopped, match="nothing was saved") as caught, Run(tmp_path, "sft", CONFIG):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert caught.value.exit_code == 130


def with_data(folder, text="one"):
    """A config that reads a file with this text."""
    (folder / "data.txt").write_text(text)
    return build_config({"data": str(folder / "data.txt"), "sft": {"save_steps": 2, "save_total_limit": 9}})


def test_data_that_changed_since_the_checkpoint_is_refused_or_accepted_and_recorded(tmp_path, capsys):
    run = tmp_path / "run"
    train(run, 2, config=with_data(tmp_path))
    started, other = read_json(run / "run.json"), with_data(tmp_path, "two")
    with pytest.raises(
        ConfigError, match=r"checkpoint-2: changed since: data .*data.txt \(7692c3ad, now 3fc4ccfe\)"
    ) as no:
        train(run, 4, "auto", config=other)
    assert no.value.exit_code == 2
    assert "--accept-changes" in str(no.value)
    assert read_json(run / "run.json") == started
    with Run(run, "sft", other, "auto", accept_changes=True) as resumed:
        resumed.log(3, {"loss": 0.1})
        resumed.end_step(3, 3, write_weights("step 3"))
    recorded = read_json(run / "run.json")
    assert recorded["run_id"] == started["run_id"]
    (change,) = recorded["changes"]
    shutil.rmtree(run / "checkpoint-3")
    train(run, 4, "auto", config=other)  # killed before the next checkpoint, it is not asked again
    assert (change["step"], change["name"]) == (2, f"data {tmp_path / 'data.txt'}")
    train(run, 4, "auto", config=other)  # the new checkpoint was made with them
    assert read_json(run / "run.json")["changes"] == [change]


def test_without_a_checkpoint_there_is_nothing_to_compare(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", 4, stop_after=1, config=with_data(tmp_path))
    run_id = read_json(tmp_path / "run/run.json")["run_id"]
    train(tmp_path / "run", 2, "auto", config=with_data(tmp_path, "two"))
    assert read_json(tmp_path / "run/run.json")["run_id"] == run_id


def test_accepting_changes_where_nothing_is_resumed_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--accept-changes: has no effect"):
        Run(tmp_path, "sft", CONFIG, accept_changes=True)


def test_a_checkpoint_of_an_older_version_resumes_with_one_warning_that_is_recorded(tmp_path, capsys):
    train(tmp_path, 2)
    manifest = read_json(tmp_path / "checkpoint-2/MANIFEST.json")
    write_json(tmp_path / "checkpoint-2/MANIFEST.json", {name: manifest[name] for name in ("step", "files")})
    write_json(tmp_path / "run.json", {"verb": "sft", "seed": 0, "versions": {"torch": "1.0"}})
    train(tmp_path, 4, "auto")
    assert capsys.readouterr().err.count("made by an older version") == 1
    assert read_json(tmp_path / "run.json")["changes"][0]["step"] == 2
    train(tmp_path, 4, "auto")
    assert capsys.readouterr().err == ""


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train(tmp_path / "a", 2)
    train(tmp_path / "b", 4)
    shutil.copytree(tmp_path / "b/checkpoint-4", tmp_path / "a/checkpoint-4")
    with pytest.raises(ConfigError, match=r"checkpoint-4: a checkpoint of another run"):
        train(tmp_path / "a", 6, "auto")
    with pytest.raises(ConfigError, match=r"not a checkpoint of .*leave out --out"):
        train(tmp_path / "a", 6, str(tmp_path / "b/checkpoint-4"))


def test_the_run_id_outlives_a_lost_run_json(tmp_path):
    train(tmp_path, 2)
    run_id = read_json(tmp_path / "run.json")["run_id"]
    (tmp_path / "run.json").unlink()
    train(tmp_path, 4, "auto")
    assert read_json(tmp_path / "run.json")["run_id"] == run_id


def test_resuming_an_older_checkpoint_sets_the_newer_ones_aside(tmp_path, capsys):
    config = build_config({"sft": {"save_steps": 2, "save_total_limit": 9}})
    train(tmp_path, 6, config=config)
    train(tmp_path, 4, str(tmp_path / "checkpoint-2"), config=config)
    assert "checkpoint-6: newer than what is resumed; set aside as aside-checkpoint-6" in capsys.readouterr().err
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-2"]
    assert (tmp_path / "aside-checkpoint-6/weights.json").read_text() == "step 6"
    assert (tmp_path / "aside-checkpoint-4/weights.json").read_text() == "step 4"
    train(tmp_path, 4, str(tmp_path / "checkpoint-2"), config=config)
    assert (tmp_path / "aside-checkpoint-4-2").is_dir()


def test_damaged_checkpoints_are_kept_aside(tmp_path):
    train(tmp_path, 4)
    (tmp_path / "checkpoint-4/weights.json").write_text("?")
    train(tmp_path, 4, "auto")
    assert (tmp_path / "aside-checkpoint-4/weights.json").read_text() == "?"
    assert (tmp_path / "checkpoint-4/weights.json").read_text() == "step 4"


def test_a_log_that_is_shorter_than_the_checkpoint_says_is_refused(tmp_path):
    train(tmp_path, 4)
    log = tmp_path / "metrics.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"metrics.jsonl: \d+ bytes, and .*checkpoint-4 was written at \d+: lines are"):
        train(tmp_path, 6, "auto")
    log.unlink()
    with pytest.raises(DataError, match=r"metrics.jsonl: 0 bytes"):
        train(tmp_path, 6, "auto")
    log.write_bytes(whole)
    train(tmp_path, 6, "auto")


def test_the_folder_of_another_stage_is_refused_by_both_names(tmp_path):
    train(tmp_path, 2)
    with pytest.raises(ConfigError, match="a folder of `sft`, not of `reward`"):
        Run(tmp_path, "reward", CONFIG, "auto")


def test_a_run_folder_is_resumed_as_auto_does(tmp_path):
    train(tmp_path, 2)
    with Run(tmp_path, "sft", CONFIG, str(tmp_path)) as run:
        assert run.start == 2


def test_an_empty_folder_that_the_user_made_outlives_a_failed_start(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError), Run(tmp_path / "mine", "sft", CONFIG):
        raise DataError("no such file")
    assert list((tmp_path / "mine").iterdir()) == []


KILLED_WHILE_SAVING = """
import os, sys, signal
from pathlib import Path
from likelier.runs.checkpoints import write_checkpoint
folder, calls = Path(sys.argv[1]), int(sys.argv[2])
real, count = os.fsync, 0
def fsync(handle):
    global count
    count += 1
    if count == calls:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = fsync
write_checkpoint(folder, 2, lambda to: [(to / n).write_text(n) for n in "abc"])
"""


@pytest.mark.parametrize("calls", range(1, 8))
def test_killed_inside_a_save_leaves_a_good_checkpoint(tmp_path: Path, calls):
    write_checkpoint(tmp_path, 1, write_weights("good"))
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path), str(calls)], check=False)
    assert killed.returncode == -signal.SIGKILL
    newest = find_newest_checkpoint(tmp_path)
    assert newest is not None
    assert find_damage(newest) is None

"""The command line: streams, exit codes, one line a failure, help without torch, where runs go."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

import broken_metrics
import likelier
from likelier import cli, progress
from likelier.cli import main
from likelier.cli.folders import circle_folder, new_folder
from likelier.cli.output import format_value, result_command, to_json, to_jsonable
from likelier.cli.reference import list_commands
from likelier.errors import ConfigError, DataError, LikelierError, NumericError, Stopped, Terminated
from likelier.files import write_jsonl

VERBS = [name for name, _ in list_commands(typer.main.get_command(cli.app).commands)]


@pytest.fixture
def run(capfd):
    """Run a verb in this process: exit code, stdout, stderr."""

    def call(*words):
        code = main([str(word) for word in words])
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def verb(monkeypatch):
    """Let `likelier env` do something else."""

    def replace(work):
        def reported(json=False):
            return work()

        monkeypatch.setattr("likelier.runs.settings.collect_versions", reported)

    return replace


def shell(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "likelier", *words], capture_output=True, text=True, timeout=60, **options
    )


def test_results_on_stdout_as_one_json_object_on_one_line(run):
    code, out, err = run("env", "--json")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    assert json.loads(out)["likelier"] == likelier.__version__


def test_results_for_people_are_one_line_a_key(run):
    code, out, _ = run("env")
    assert code == 0
    assert out.splitlines()[0].split()[0] == "python"


def test_version(run):
    assert run("--version") == (0, f"{likelier.__version__}\n", "")


def test_module_and_command_are_the_same():
    done = shell("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{likelier.__version__}\n", "")


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself(run, name):
    code, out, err = run(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert f"likelier {name}" in out


def test_help_needs_no_torch():
    script = "import sys; from likelier.cli import main\n"
    script += "for verb in %r: main([*verb.split(), '--help'])\n" % ["", *VERBS]
    script += "sys.exit(any(heavy in sys.modules for heavy in ('torch', 'transformers', 'numpy', 'sqlalchemy')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("Usage")) == (0, 0)


def test_a_bare_command_shows_help_but_has_no_result(run):
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "Usage: likelier" in err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["ppoo"], "'ppo'"),
        (["data", "imprt"], "'import'"),
        (["ppo", "--resum", "auto", "c.yaml"], "--resume"),
        (["ppo"], "CONFIG.yaml"),
        (["check"], "--db"),
        (["ppo", "c.yaml", "--seed", "x"], "'x'"),
        (["serve", "--db", "f.db", "--port", "99999"], "'99999'"),
        (["config", "schema", "ppp"], "ppo"),
        (["demo", "extra"], "extra"),
    ],
)
def test_wrong_usage_is_one_line_with_what_was_meant(run, words, part):
    code, out, err = run(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("likelier: ")
    assert part in err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (LikelierError("f: full"), 1, "f: full"),
        (ConfigError("c.yaml: x"), 2, "c.yaml: x"),
        (DataError("two\nlines"), 3, "two lines"),
        (NumericError("nan"), 4, "nan"),
        (Stopped("saved"), 75, "saved"),
        (Stopped("saved", 130), 130, "saved"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (OSError(errno.ENOSPC, "No space left on device", "out.jsonl"), 1, "out.jsonl: No space left on device"),
        (OSError(errno.EIO, "Input/output error", "/x"), 1, "/x: Input/output error"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "/x: Permission denied"),
        (ModuleNotFoundError("no", name="torch.nn"), 1, "torch is not installed; pip install 'likelier[train]'"),
        (ModuleNotFoundError("no", name="psycopg"), 1, "psycopg is not installed; pip install 'likelier[postgres]'"),
    ],
)
def test_every_failure_is_one_line_and_its_exit_code(run, verb, error, code, line):
    def fail():
        raise error

    verb(fail)
    assert run("env", "--json") == (code, "", f"likelier: {line}\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_out_of_memory_names_the_setting_to_lower(run, monkeypatch, tmp_path, error):
    (tmp_path / "c.yaml").write_text("model: m\n")

    def fail(config, run):
        raise error

    monkeypatch.setattr("likelier.stages.Stage.load_trainer", lambda stage: fail)
    for stage, setting in (("ppo", "ppo.micro_batch_size=4"), ("reward", "reward_model.micro_batch_size=8")):
        code, out, err = run(stage, tmp_path / "c.yaml", "--out", tmp_path / "run")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert f"out of memory; change, what costs least first: {setting}, " in err


def test_a_bug_is_one_line_that_says_where(run, verb, monkeypatch):
    verb(lambda: {}["key"])
    code, out, err = run("env")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "internal error at test_main.py:" in err
    monkeypatch.setenv("LIKELIER_DEBUG", "1")
    assert "Traceback" in run("env")[2]


def test_sigterm_with_nothing_to_save_is_143(run, verb):
    verb(lambda: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    code, out, err = run("env")
    assert (code, out, err.count("\n")) == (143, "", 1)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), pytest.param(signal.SIGINT, 130, marks=pytest.mark.battery)]
)
def test_a_signal_ends_a_run_after_a_good_checkpoint_and_resume_goes_on(run, tmp_path, monkeypatch, number, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the sky is blue\n<|endoftext|>\n" * 20)
    small = "{model_type: llama, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}"
    (tmp_path / "c.yaml").write_text(f"data: text.txt\nsft: {{architecture: {small}, max_steps: 150, device: cpu}}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "likelier", "sft", "c.yaml", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    log = tmp_path / "runs/c-1/metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (code, b"")
    assert b"go on with: likelier sft c.yaml --json --out runs/c-1 --resume auto\n" in err
    done = run("sft", "c.yaml", "--json", "--out", "runs/c-1", "--resume", "auto")
    assert json.loads(done[1])["steps"] == 150
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 151))


def test_a_program_of_ones_own_ends_as_a_verb_does(capfd):
    def ends(error):
        def work():
            raise error

        return cli.run_script(work), *capfd.readouterr()

    assert ends(ConfigError("out: not empty")) == (2, "", "likelier: out: not empty\n")
    assert ends(OSError(errno.ENOENT, "No such file", "x.gz")) == (1, "", "likelier: x.gz: No such file\n")
    assert ends(SystemExit(2)) == (2, "", "")  # argparse, which has said why
    assert ends(Terminated()) == (143, "", "likelier: stopped by SIGTERM; nothing was there to save\n")
    assert cli.run_script(lambda: None) == 0
    assert cli.run_script(lambda: 3) == 3


def test_what_a_stage_prints_goes_to_stderr(run, verb):
    verb(lambda: print("a reward function's own words") or {})
    code, out, err = run("env", "--json")
    assert code == 0
    assert json.loads(out)
    assert err == "a reward function's own words\n"


def test_json_keeps_lines_of_progress_away(run):
    run("env", "--json")
    assert progress.plain_lines is False
    run("env")
    assert progress.plain_lines is True


def test_a_reader_that_goes_away_is_no_failure():
    for words in (["config", "schema"], ["--help"]):
        with subprocess.Popen(
            [sys.executable, "-m", "likelier", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(60) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "likelier", "config", "schema"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (1, "likelier: input/output: No space left on device\n")


def test_colours_and_width_follow_the_environment():
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    assert "\x1b" not in shell("data", "--help", env=plain).stdout
    assert "\x1b[1;33m" in shell("data", "--help", env=plain | {"FORCE_COLOR": "1"}).stdout
    assert "\x1b[1;33m" not in shell("data", "--help", env=plain | {"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout
    narrow = shell("data", "--help", env=plain | {"COLUMNS": "50"}).stdout
    assert max(len(line) for line in narrow.splitlines()) == 50


def test_json_holds_null_for_what_is_no_number_and_texts_for_paths():
    assert to_jsonable({"a": float("nan"), "b": (1.0, float("inf")), "c": Path("x/y"), 3: None}) == {
        "a": None,
        "b": [1.0, None],
        "c": "x/y",
        "3": None,
    }
    assert to_json({"text": "line\nbreak ü"}) == '{"text": "line\\nbreak ü"}'


def test_numbers_for_people():
    assert format_value(0.123456) == "0.1235"
    assert format_value([]) == "–"  # an empty place looked like something left out
    assert format_value([0.25, 0.5]) == "0.25 to 0.5"
    assert format_value(["a", "b"]) == "a, b"
    assert format_value(None) == "–"


def test_answers_keeps_the_signature_for_typer():
    @result_command()
    def work(number: int, json: bool = False):
        """Say."""

    assert work.__doc__ == "Say."
    assert work.__wrapped__.__annotations__ == {"number": int, "json": bool}


def test_a_circle_goes_on_in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert circle_folder("mine", None, "never") == Path("runs/mine-1")
    (tmp_path / "runs/mine-1/round-1").mkdir(parents=True)
    assert circle_folder("mine", None, "auto") == Path("runs/mine-1")
    assert circle_folder("mine", None, "runs/mine-1") == Path("runs/mine-1")
    assert circle_folder("mine", None, "never") == Path("runs/mine-2")
    with pytest.raises(ConfigError, match="not empty"):
        circle_folder("mine", Path("runs/mine-1"), "never")


def test_a_folder_that_holds_something_is_not_fresh(tmp_path):
    assert new_folder("demo", tmp_path / "new") == tmp_path / "new"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        new_folder("demo", tmp_path)


def test_a_format_that_fits_badly_is_told_beside_the_counts(run, tmp_path):
    data, db = tmp_path / "hh.jsonl", tmp_path / "f.db"
    start = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: And?\n\nAssistant:"
    write_jsonl(data, [{"chosen": f"{start} Yes.", "rejected": f"{start} No."}])
    code, _, err = run("data", "import", data, "--format", "trl", "--db", tmp_path / "other.db")
    assert (code, err) == (
        0,
        f"{data}: transcripts, read as plain text; --format anthropic would tell their turns apart\n",
    )
    assert run("data", "import", data, "--format", "anthropic", "--db", db)[2] == ""
    out = tmp_path / "out.jsonl"
    code, _, err = run("data", "export", "--format", "openai-summaries", "--db", db, "-o", out)
    assert (code, err) == (
        0,
        f"{out}: empty: openai-summaries can hold none of these judgements; `likelier` holds all\n",
    )
    again = run("data", "export", "--format", "openai-summaries", "--db", db, "-o", out, "--overwrite", "--json")
    assert (again[0], again[2]) == (0, "")


def test_an_export_of_nothing_is_an_empty_file_and_says_so(run, tmp_path):
    db, out = tmp_path / "f.db", tmp_path / "out.jsonl"
    answers = [{"text": "a"}, {"text": "b"}]
    write_jsonl(tmp_path / "answers.jsonl", [{"record": "responses", "prompt": "p", "responses": answers}])
    assert run("data", "import", tmp_path / "answers.jsonl", "--format", "likelier", "--db", db)[0] == 0
    code, said, err = run("data", "export", "--format", "trl", "--db", db, "-o", out)
    assert (code, err) == (0, f"{out}: empty: there is nothing to write yet\n")
    assert said == "written  0\nskipped  0\n"
    assert out.read_text() == ""


def test_config_check_show_and_schema(run, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 3\nppo: {learning_rate: 3e-4}\n")
    assert json.loads(run("config", "check", path, "--json")[1]) == {"file": str(path), "ok": True}
    shown = run("config", "show", path, "ppo.kl_coef=0.5")[1]
    assert "\nseed: 3\n" in shown
    assert "learning_rate: 0.0003" in shown
    assert json.loads(run("config", "show", path, "ppo.kl_coef=0.5", "--json")[1])["ppo"]["kl_coef"] == 0.5
    schema = json.loads(run("config", "schema", "ppo")[1])
    assert schema["properties"]["cliprange"]["default"] == 0.2
    assert json.loads(run("config", "schema", "--json")[1])["properties"]["seed"]["minimum"] == 0


def test_doctor_of_a_run_and_what_it_cannot_look_at(run, tmp_path):
    folder = tmp_path / "run"
    write_jsonl(folder / "metrics.jsonl", broken_metrics.lines())
    assert run("doctor", folder)[1] == "No findings.\n"
    write_jsonl(folder / "metrics.jsonl", broken_metrics.lines(first_ratio_deviation=0.2))
    code, out, err = run("doctor", folder, "--json")
    assert (code, err) == (0, "")
    finding = json.loads(out)["findings"][0]
    assert (finding["name"], finding["severity"], finding["step"]) == ("ratio_not_one", "error", 1)
    assert "ratio_not_one (step 1)\n  evidence |ratio - 1| up to 0.2" in run("doctor", folder)[1]
    for words, code in (
        ([], 2),
        ([folder, "ppo.gamma=1"], 2),
        ([folder, "--zoo"], 2),
        ([tmp_path], 3),
        (["no.yaml"], 2),
    ):
        failed = run("doctor", *words)
        assert (failed[0], failed[1], failed[2].count("\n")) == (code, "", 1)

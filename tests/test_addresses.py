"""Passwords in addresses: hidden wherever they would be written or printed, and filled in from the environment."""

import base64
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from likelier.addresses import fill_secrets, hide_secrets
from likelier.cli import main
from likelier.config import Config, build_config
from likelier.errors import ConfigError, DataError, LikelierError
from likelier.feedback.store import Store
from likelier.records import Prompt
from likelier.reward.responses import ResponseBatch
from likelier.reward.service import http_source
from likelier.runs.run import Run
from likelier.runs.settings import refuse_changes
from likelier.search.space import trial_config, user_settings

SECRETS = {
    "reward": [{"http": "https://ann:s3cret@host/score?token=s3cret"}],
    "eval": {"scorer": [{"people": "postgresql://ann:s3cret@host/people"}]},
    "circle": {"db": "postgresql://ann:s3cret@host/db"},
}


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://ann:pw@host:5432/db?sslmode=require", "postgresql://ann:***@host:5432/db?sslmode=require"),
        ("postgresql+psycopg://ann:p/w?@x@host/db", "postgresql+psycopg://ann:***@host/db"),
        ("postgresql://host/db?user=ann&password=pw", "postgresql://host/db?user=ann&password=***"),
        ("postgresql://ann@host/db", "postgresql://ann@host/db"),
        ("postgresql://ann:pw@host/db?x=a@b", "postgresql://ann:***@host/db?x=a@b"),
        ("http://ann:p/w@host/score", "http://ann:***@host/score"),
        ("http://host:80/me@home", "http://host:80/me@home"),
        ("http://ghp_token@host/score", "http://***@host/score"),
        ("https://ann:pw@host:80/score?v=abc&b=", "https://ann:***@host:80/score?v=***&b="),
        ("https://ann:${PW}@host/?k=${KEY}", "https://ann:${PW}@host/?k=${KEY}"),
        ("https://host/users/me@home", "https://host/users/me@home"),
        ("a https://a:b@c, 'http://d:e@f/g' and x@y", "a https://a:***@c, 'http://d:***@f/g' and x@y"),
        ("(see http://host/?k=abc): no", "(see http://host/?k=***): no"),
        ("runs/feedback.db", "runs/feedback.db"),
    ],
)
def test_secrets_are_hidden_and_the_rest_is_not(address, shown):
    assert hide_secrets(address) == shown
    assert hide_secrets(shown) == shown


def test_an_error_tells_no_password():
    for kind in (LikelierError, ConfigError, DataError):
        assert str(kind("postgresql://ann:pw@host/db: no answer")) == "postgresql://ann:***@host/db: no answer"


def test_a_runs_files_hold_no_password_and_it_can_be_resumed(tmp_path):
    """With the config that was given, which has the password, or a new one. The run's own copy says what is missing."""
    config = build_config(SECRETS)
    written = config.model_dump_json() + json.dumps(user_settings(config)) + repr(config.model_dump(mode="json"))
    with Run(tmp_path / "run", "ppo", config):
        pass
    written += "".join(path.read_text(errors="replace") for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert "s3cret" not in written
    assert "https://ann:***@host/score?token=***" in written
    path = tmp_path / "run" / "config.yaml"
    changed = build_config(json.loads(json.dumps(SECRETS).replace("s3cret", "new")))
    refuse_changes(path, changed.model_dump(mode="json"), "run", ())
    moved = build_config(json.loads(json.dumps(SECRETS).replace("host", "other")))
    with pytest.raises(ConfigError, match="started with"):
        refuse_changes(path, moved.model_dump(mode="json"), "run", ())
    copy = Config.model_validate(yaml.safe_load(path.read_text()))
    with pytest.raises(ConfigError, match=r"no run keeps the password; give it again, or write \$\{NAME\}"):
        http_source(copy.reward[0].http or "")
    with pytest.raises(ConfigError, match="no run keeps the password"):
        Store.open(copy.circle.db)


def test_a_trial_of_a_search_keeps_the_password():
    config = build_config(SECRETS | {"search": {"space": {"ppo.gamma": [0.9]}}})
    assert trial_config(config, {"ppo.gamma": 0.9}).reward[0].http == SECRETS["reward"][0]["http"]


def test_the_name_of_a_source_holds_no_password():
    config = build_config(SECRETS | {"reward": [{"http": "http://ann:pw@host:80"}, {"http": "http://host/score"}]})
    assert [source.label for source in config.reward] == ["ann:***@host:80", "score"]
    assert build_config(SECRETS).reward[0].label == "score?token=***"


def test_a_variable_of_the_environment_is_filled_in(monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "p@ss/word")
    assert fill_secrets("postgresql://ann:${DB_PASSWORD}@host/db") == "postgresql://ann:p%40ss%2Fword@host/db"
    monkeypatch.delenv("DB_PASSWORD")
    with pytest.raises(
        ConfigError, match=r"^postgresql://ann:\$\{DB_PASSWORD\}@host/db: the environment has no DB_PAS"
    ):
        fill_secrets("postgresql://ann:${DB_PASSWORD}@host/db")


def test_a_service_gets_name_and_password_and_no_error_tells_them(monkeypatch):
    """urllib took `pw@host` for a port, and its error told it."""
    seen = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.headers["Authorization"], self.path))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"scores": [1.0]}')

        def log_message(self, *words):
            pass

    monkeypatch.setenv("SCORER", "p@ss")
    monkeypatch.setattr("likelier.services.post.HTTP_RETRIES", 0)
    batch = ResponseBatch([Prompt("p")], ["r"])
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}/score?key=x"
        assert http_source("http://ann:${SCORER}@" + address)(batch).values.tolist() == [1.0]
        server.shutdown()
    assert seen == [("Basic " + base64.b64encode(b"ann:p@ss").decode(), "/score?key=x")]
    with pytest.raises(LikelierError, match=r"^reward service http://ann:\*\*\*@127\.0\.0\.1:\d+/score\?key=\*\*\*: "):
        http_source("http://ann:${SCORER}@" + address)(batch)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--db", "mysql://ann:s3cret@host/db"],
        ["check", "--db", "postgresql://ann:s3cret@[host/db"],
        ["check", "--db", "postgresql://ann:s3cret@host:port/db"],
        ["config", "check", "c.yaml", "reward=[{http: 'http://ann:s3cret@host', wait: x}]"],
        ["config", "check", "c.yaml", "rewards=[http://ann:s3cret@host"],
        ["config", "show", "c.yaml", "reward=[{http: 'http://ann:s3cret@host'}]"],
    ],
)
def test_no_command_tells_a_password(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("seed: 0\n")
    main(words)
    captured = capsys.readouterr()
    assert captured.err or "host" in captured.out
    assert "s3cret" not in captured.out + captured.err

"""Whose taste a circle learns, round after round: the same one whatever the groups of a round are called."""

import json
import shutil
import signal
from functools import partial
from itertools import product

import pytest
from taste_rounds import accompany, bring_people, fingerprint

from forked import Forked, run_command
from likelier.circle.taste import FollowedTaste, follow_taste
from likelier.feedback.pairing import hash_uniform
from likelier.feedback.taste_report import TasteGroup, Tastes
from likelier.files import read_json, write_jsonl
from likelier.report.languages import translate_record, use_language
from likelier.web.server import listen
from ppo_runs import REWARD
from tiny_ppo import make_config, make_world


def find(*groups):
    """Groups of people, each a string of letters, the largest first."""
    total = sum(map(len, groups))
    return Tastes(len(groups), "found", groups=tuple(TasteGroup(tuple(each), len(each) / total) for each in groups))


FORMER, NOBODY = FollowedTaste(tuple("abc"), tuple("xy"), ""), FollowedTaste((), (), "")
ALL, NEW = "This round learns from everybody: ", "This round learns the taste of 3 people, "
SAME, KEPT = (
    f"This round learns the same taste as the one before, {how}" for how in ("now of", "from the same people:")
)
ALIKE, UNTOLD = Tastes(1, "alike"), Tastes(None, "cannot tell")
UNCLEAR = "the check cannot tell if there are several tastes."
SMALLER = "not the largest group any more"
MOVED = "; of those before, now of another: 1."


@pytest.mark.parametrize(
    ("tastes", "former", "members", "others", "words"),
    [
        (find("abc", "xy"), None, "abc", "xy", f"{NEW}the largest of 2 groups."),
        (find("xyz", "abc"), None, "xyz", "abc", f"{NEW}though another group is as large."),
        (ALIKE, None, "", "", f"{ALL}the check finds one taste."),
        (None, None, "", "", f"{ALL}there are too few judgements to tell tastes apart."),
        # Groups that are told apart later only, in another order, with new people, in three parts, or unclear.
        (find("xyz", "ab"), NOBODY, "xyz", "ab", f"{NEW}the largest of 2 groups."),
        (find("xyzw", "abc"), FORMER, "abc", "wxyz", f"{SAME} 3 people, {SMALLER}."),
        (find("abcde", "z"), FORMER, "abcde", "xyz", f"{SAME} 5 people."),
        (find("xyz", "bc", "a"), FORMER, "bc", "axyz", f"{SAME} 2 people, {SMALLER}{MOVED}"),
        (find("xy", "bc"), FORMER, "abc", "xy", f"{SAME} 3 people."),
        # No groups, or none with anybody of the one that was learned: everybody stays where they were.
        (UNTOLD, FORMER, "abc", "xy", f"{KEPT} {UNCLEAR}"),
        (ALIKE, FORMER, "abc", "xy", f"{KEPT} the check finds one taste."),
        (find("xy", "zw"), FORMER, "abc", "xy", f"{KEPT} nobody of its group is in one now."),
    ],
)  # fmt: skip
def test_whose_taste_is_learned(tastes, former, members, others, words):
    chosen = follow_taste(tastes, former)
    assert (chosen.members, chosen.others, chosen.in_words) == (tuple(members), tuple(others), words)
    assert FollowedTaste.from_json(chosen.to_json()) == chosen
    with use_language("zh"):
        assert not [letter for letter in translate_record(words) if letter.isascii() and letter.isalpha()]


def test_who_is_in_no_group_is_learned_from():
    groups = FORMER.find_groups()
    assert [groups.has_taste(name) for name in ("a", "x", "new", "")] == [True, False, True, True]
    assert NOBODY.find_groups().has_taste("x")


def like(which):
    """A taste of its own: some 5 log-odds between two texts, and no correlation with another."""
    return lambda prompt, response: 2 * hash_uniform(which, prompt, response)


@pytest.mark.battery
@pytest.mark.timeout(900)  # 330 s at a load of 13
def test_three_rounds_of_the_command_follow_the_majority_and_a_killed_one_ends_as_a_whole_one(tmp_path):
    """Five people have one taste, three another; kill -9 in round 2, once in the reward model and once in PPO."""
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    world = make_world(tmp_path / "world", REWARD)
    words = [" ".join(each) for length in (2, 3) for each in product("ab", repeat=length)]
    write_jsonl(world / "prompts.jsonl", [{"prompt": each} for each in words])
    people = bring_people(tmp_path / "people.db", port, [like(1)] * 5 + [like(2)] * 3)
    told = make_config(world, total_episodes=32, response_length=6, learning_rate=0.02).model_dump(
        mode="json", exclude_unset=True
    )
    told |= {"reward": [], "reward_model": {"batch_size": 16, "num_epochs": 2, "learning_rate": 0.01, "device": "cpu"}}
    told |= {
        "eval": {"scorer": [{"function": f"{world / 'reward.py'}:count_a"}], "response_length": 6, "device": "cpu"}
    }
    told["ppo"] |= {"anyway": True}
    told["circle"] = {"port": port, "judgements": 280, "judgements_per_comparison": 8,
                      "taste": "majority", "accept": "always", "num_eval_prompts": 2}  # fmt: skip
    (tmp_path / "circle.yaml").write_text(json.dumps(told))
    for name, kills in (("whole", []), ("killed", ["reward", "policy"])):
        folder = tmp_path / "run"
        folder.mkdir()
        shutil.copy(tmp_path / "people.db", folder / "feedback.db")
        for person in people:
            person.count = 0
        command = ("circle", str(tmp_path / "circle.yaml"), f"circle.db={folder / 'feedback.db'}", "--rounds", "3")
        command += ("--out", str(folder / "circle"), "--resume", "auto")
        for kill_at in [*(folder / "circle" / "round-2" / each / "metrics.jsonl" for each in kills), None]:
            process = Forked(folder / "streams", run_command, *command)
            accompany(process.is_running, partial(process.send_signal, signal.SIGKILL), people, 280, kill_at)
            assert process.wait() == (-signal.SIGKILL if kill_at else 0), process.err.read_text()
        files = sorted(folder.glob("circle/round-*/preferences.json"))
        members = [read_json(file)["followed_taste"]["members"] for file in files]
        assert (len(members), [*map(len, members)]) == (3, [5] * 3)
        assert members[0] == members[1] == members[2]
        folder.rename(tmp_path / name)
    assert fingerprint(tmp_path / "killed" / "circle") == fingerprint(tmp_path / "whole" / "circle")

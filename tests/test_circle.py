"""Stages are done once, made anew when their inputs change, and numbers reach the picture."""

import contextlib
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from likelier import circle
from likelier.circle import Round, make_split_key, run_circle, run_once, split_prompts
from likelier.circle.feedback import open_store
from likelier.config import build_config
from likelier.feedback.check import check
from likelier.feedback.formats import import_file
from likelier.feedback.store import Store
from likelier.files import read_json, write_jsonl
from likelier.records import Comparison, JudgedComparison, Judgement, Prompt, Response, read_prompts
from tiny import save_tiny_model

STAGES = ["prompts", "candidates", "feedback", "check", "preferences", "reward", "policy", "evaluation"]
FUNCTIONS = [
    "split_prompts", "sample_candidates", "ask_people", "check_feedback",
    "make_pairs", "train_reward_model", "train_policy", "compare_models",
]  # fmt: skip


def round_in(folder, **circle):
    prompts = folder / "prompts.jsonl"
    write_jsonl(prompts, [{"prompt": f"Once {number}"} for number in range(20)] + [{"prompt": "Once 3"}])
    config = build_config({"model": "m", "prompts": str(prompts), "circle": circle})
    return Round(config, folder / "round-1", str(folder / "feedback.db"), "m", folder / "round-1" / "prompts")


def test_a_stage_is_done_once_and_again_when_its_inputs_change(tmp_path):
    circle_round, calls = round_in(tmp_path), []

    def make(_):
        calls.append(1)
        (circle_round.folder / "reward").mkdir()
        return {"accuracy": len(calls)}

    assert run_once(circle_round, "reward", ["a"], make)["accuracy"] == 1
    assert run_once(circle_round, "reward", ["a"], make)["accuracy"] == 1
    assert run_once(circle_round, "reward", ["b"], make)["accuracy"] == 2
    assert len(calls) == 2


CHANGES = {
    "none": ({}, []),
    "eval": ({"eval": {"temperature": 0.5}}, ["evaluation"]),
    "reward": ({"reward": [{"function": "f.py:f"}]}, ["policy", "evaluation"]),
    "kl": ({"ppo": {"kl_coef": 0.5}}, ["policy", "evaluation"]),
    "model": ({"model": "other"}, STAGES[1:]),
    "length": ({"ppo": {"response_length": 9}}, STAGES[1:]),
    "seed": ({"seed": 5}, STAGES),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reaches_every_later_stage_even_if_counts_stay_the_same(tmp_path, monkeypatch, change):
    made = []
    for stage, function in zip(STAGES, FUNCTIONS, strict=True):
        monkeypatch.setattr(
            circle, function, lambda circle_round, stage=stage, **given: made.append(stage) or {"count": 1}
        )
    monkeypatch.setattr(circle, "write_round_report", lambda folder, done, k, **given: {"in_words": ""})
    monkeypatch.setattr(circle, "is_accepted", lambda config, results: True)
    monkeypatch.setattr(circle, "compare_with_first", lambda circle_round: {})
    monkeypatch.setattr(circle, "write_report", lambda folders, out, **given: None)
    more, expected = CHANGES[change]
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": "Once"}, {"prompt": "Twice"}])
    settings = {"model": "m", "prompts": str(tmp_path / "prompts.jsonl")}
    run_circle(build_config(settings), tmp_path / "out")
    assert made == STAGES
    made.clear()
    run_circle(build_config(settings | more), tmp_path / "out")
    assert made == expected


def test_other_prompts_and_another_last_round_are_noticed(tmp_path, monkeypatch):
    made = []
    for stage, function in zip(STAGES, FUNCTIONS, strict=True):
        monkeypatch.setattr(
            circle, function, lambda circle_round, stage=stage, **given: made.append(stage) or {"count": 1}
        )
    monkeypatch.setattr(circle, "write_round_report", lambda folder, done, k, **given: {"in_words": ""})
    monkeypatch.setattr(circle, "is_accepted", lambda config, results: True)
    monkeypatch.setattr(circle, "compare_with_first", lambda circle_round: {})
    monkeypatch.setattr(circle, "write_report", lambda folders, out, **given: None)
    settings = {"model": "m", "prompts": str(tmp_path / "prompts.jsonl")}
    for text in ("Twice", "Thrice"):
        write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": "Once"}, {"prompt": text}])
        run_circle(build_config(settings), tmp_path / "out", rounds=2)
    assert made == STAGES * 4
    made.clear()
    run_circle(build_config(settings | {"ppo": {"kl_coef": 0.5}}), tmp_path / "out", rounds=2)
    assert made == [*STAGES[-2:], *STAGES[1:]]


AT_CHANCE = {"accuracy": 0.29, "accuracy_interval": [0.15, 0.45], "pairs": 27, "length_only_accuracy": 0.94}


def test_a_round_whose_reward_is_at_chance_keeps_its_model_and_says_so(tmp_path, monkeypatch):
    """No PPO and no evaluation; the next round asks about other answers of the same model."""
    sampled, prompt = [], Prompt("Once")
    left, right = Response(prompt.id, "a"), Response(prompt.id, "b")
    answer = Judgement(Comparison(prompt.id, left.id, right.id).id, "ann", left.id, right.id, "left")
    results = {
        "prompts": {"prompts": 1, "kept_out": 1},
        "candidates": {"responses": 4},
        "check": check([JudgedComparison(answer, prompt, left, right)]).to_json(),
        "preferences": {"train": 3, "dropped": 0},
        "reward": AT_CHANCE,
    }
    for stage, function in zip(STAGES[:6], FUNCTIONS[:6], strict=True):
        monkeypatch.setattr(circle, function, lambda circle_round, stage=stage, **given: results.get(stage, {}))
    monkeypatch.setattr(
        circle, "sample_candidates", lambda each: sampled.append((each.model, each.repeats)) or results["candidates"]
    )
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": "Once"}, {"prompt": "Twice"}])
    config = build_config({"model": "m", "prompts": str(tmp_path / "prompts.jsonl")})
    result = run_circle(config, tmp_path / "out", rounds=2)
    assert (result["reward_at_chance"], result["win_rate"], result["reward_accuracy"]) == (True, None, 0.29)
    assert sampled == [("m", 0), ("m", 1)]
    page = (tmp_path / "out" / "round-2" / "report.html").read_text()
    assert "the reward model is at chance" in page
    assert "<code>reward_at_chance</code>" in page
    chinese = {**config.model_dump(exclude_unset=True), "circle": {"lang": "zh"}}
    run_circle(build_config(chinese), tmp_path / "out", rounds=2)
    page = (tmp_path / "out" / "round-2" / "report.html").read_text()
    assert "奖励模型与随机无异" in page
    assert "at chance" not in page
    assert len(sampled) == 2  # nothing is asked or trained again for it
    with pytest.raises(KeyError):  # it goes on to PPO, whose stand-in is not there
        monkeypatch.setattr(circle, "train_policy", lambda each: {}["trained"])
        run_circle(build_config({**config.model_dump(exclude_unset=True), "ppo": {"anyway": True}}), tmp_path / "out")


def test_a_stage_that_was_cut_off_keeps_its_folder(tmp_path):
    circle_round = round_in(tmp_path)

    def cut_off(_):
        (circle_round.folder / "policy").mkdir()
        (circle_round.folder / "policy" / "checkpoint").write_text("step 5")
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        run_once(circle_round, "policy", ["a"], cut_off)
    went_on = run_once(
        circle_round,
        "policy",
        ["a"],
        lambda circle_round: {"found": (circle_round.folder / "policy" / "checkpoint").read_text()},
    )
    assert went_on["found"] == "step 5"


def test_judgements_given_before_the_page_was_closed_count(tmp_path, monkeypatch):
    """Ctrl-C after 3 of 5: going on asks for the other two, wanting 7 then for 2 more, and new answers for all 7."""
    circle_round, asked = round_in(tmp_path, judgements=5), []
    answers = circle_round.folder / "candidates" / "candidates.jsonl"
    write_jsonl(answers, [{"record": "responses", "prompt": "Once", "responses": ["a", "b"]}])
    prompt = Prompt("Once")
    one, two = Response(prompt.id, "a"), Response(prompt.id, "b")
    pair = Comparison(prompt.id, one.id, two.id)
    with Store.open(circle_round.db, create=True) as store:
        store.add_prompts([prompt])
        store.add_responses([one, two])
        store.add_comparisons([pair])
        store.add_judgement(Judgement(pair.id, "earlier round", one.id, two.id, "left"))

    def serve(store, port, access, wanted, per_comparison, only):
        asked.append(wanted)
        for number in range(min(wanted, 3)):
            store.add_judgement(Judgement(pair.id, f"{len(asked)} {number}", one.id, two.id, "left"))
        if wanted > 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("likelier.web.server.serve", serve)
    with pytest.raises(KeyboardInterrupt):
        circle.ask_people(circle_round)
    assert circle.ask_people(circle_round) == {"judgements": 5}
    assert circle.ask_people(circle_round) == {"judgements": 5}
    assert asked == [5, 2]
    more = replace(
        circle_round,
        config=circle_round.config.model_copy(
            update={"circle": circle_round.config.circle.model_copy(update={"judgements": 7})}
        ),
    )
    assert run_once(more, "feedback", "another key", circle.ask_people)["judgements"] == 7
    write_jsonl(answers, [{"record": "responses", "prompt": "Twice", "responses": ["a", "b"]}])
    with pytest.raises(KeyboardInterrupt):
        run_once(more, "feedback", "a third key", circle.ask_people)
    assert asked == [5, 2, 2, 7]


def test_held_out_prompts_are_the_same_in_every_round_and_never_trained_on(tmp_path):
    circle_round = round_in(tmp_path, num_eval_prompts=3, num_prompts=5)
    assert split_prompts(circle_round) == {"prompts": 5, "kept_out": 3}
    first = {prompt.text for prompt in read_prompts(circle_round.prompts / "kept_out.jsonl")}
    split_prompts(circle_round)
    assert {prompt.text for prompt in read_prompts(circle_round.prompts / "kept_out.jsonl")} == first
    assert not first & {prompt.text for prompt in read_prompts(circle_round.prompts / "train.jsonl")}


def test_columns_stay_with_the_prompts_of_every_round(tmp_path):
    circle_round = round_in(tmp_path, num_eval_prompts=3, num_prompts=5)
    without = make_split_key(circle_round)
    assert without[0][:2] == ["Once 0", "Once 1"]
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": f"Once {at}", "moral": str(at)} for at in range(20)])
    split_prompts(circle_round)
    for part in ("train", "kept_out"):
        assert all(
            prompt.extra == {"moral": prompt.text[5:]}
            for prompt in read_prompts(circle_round.prompts / f"{part}.jsonl")
        )
    assert make_split_key(circle_round)[0][:2] == [["Once 0", {"moral": "0"}], ["Once 1", {"moral": "1"}]]
    begun_before = [[f"Once {number}" for number in range(20)], 3, 5, circle_round.config.seed]
    run_once(circle_round, "prompts", begun_before, split_prompts)
    assert make_split_key(circle_round) == begun_before  # its people are not asked again


def test_a_circle_may_ask_in_a_project_of_its_database(tmp_path):
    circle_round = round_in(tmp_path, project="stories")
    with open_store(circle_round, create=True) as store:
        store.add_prompts([Prompt("Once")])
    with open_store(circle_round) as store:
        assert (store.project, len(store.prompts()), len(store.in_project("default").prompts())) == ("stories", 1, 0)


def judge_all(circle_round):
    """Two people who like the letter a."""
    draw = random.Random(0)
    with Store.open(circle_round.db) as store:
        texts = {response.id: response.text for response in store.responses()}
        for pair in store.comparisons():
            for person in ("ann", "bob"):
                left, right = draw.sample([pair.response_a, pair.response_b], 2)
                choice = "left" if texts[left].count("a") > texts[right].count("a") else "right"
                store.add_judgement(Judgement(pair.id, person, left, right, choice, duration_seconds=3.0))
    return {"judgements": 1}


@pytest.mark.slow
def test_baselines_stand_beside_ppo_on_the_same_evaluation(tmp_path):
    save_tiny_model(tmp_path / "model", words=["a", "b"], context=32)
    texts = [f"{one} {two} {three} {four}" for one in "ab" for two in "ab" for three in "ab" for four in "ab"]
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": text} for text in texts])
    taste = "def a(prompts, responses):\n    return [float(text.count('a')) for text in responses]\n"
    (tmp_path / "taste.py").write_text(taste)
    small = {"batch_size": 8, "device": "cpu", "learning_rate": 0.01}
    ppo = {
        "total_episodes": 16,
        "response_length": 4,
        "num_mini_batches": 1,
        "num_eval_prompts": 2,
        "eval_steps": 1,
        "anyway": True,
    }
    settings = {
        "model": str(tmp_path / "model"),
        "prompts": str(tmp_path / "prompts.jsonl"),
        "circle": {"num_eval_prompts": 3, "responses_per_prompt": 3, "baselines": ["sft", "dpo"]},
        "reward_model": small | {"num_epochs": 1},
        "sft": small | {"max_steps": 2},
        "dpo": small,
        "ppo": small | ppo,
        "eval": {"scorer": [{"function": f"{tmp_path / 'taste.py'}:a", "name": "taste"}], "device": "cpu"},
    }
    config = build_config(settings)
    run_circle(config, tmp_path / "out", collect=judge_all)
    folder = tmp_path / "out" / "round-1"
    evaluation = read_json(folder / "evaluation.json")
    assert [other["name"] for other in evaluation["others"]] == ["SFT", "DPO"]
    assert all(other["model"].endswith(f"{other['name'].lower()}/model") for other in evaluation["others"])
    for name in ("sft", "dpo"):
        result = read_json(folder / name / "result.json")
        assert {"eval_kl", "eval/taste", "eval_score"} <= set(result["after"])
    page = (folder / "report.html").read_text()
    assert all(f"</svg>{name}</li>" in page for name in ("SFT", "DPO", "PPO", "other models"))
    assert run_circle(config, tmp_path / "out", collect=judge_all)["report"]  # everything is done already


@pytest.mark.parametrize(
    ("accept", "interval", "expected"),
    [("better", (0.55, 0.7), True), ("better", (0.45, 0.7), False), ("always", (0.2, 0.4), True)],
)
def test_only_a_better_policy_is_the_next_start(monkeypatch, accept, interval, expected):
    config = build_config({"circle": {"accept": accept}})
    first = SimpleNamespace(first=SimpleNamespace(interval=interval))
    monkeypatch.setattr(circle.EvaluationResult, "from_json", lambda record: first)
    assert circle.is_accepted(config, {"policy": {}, "evaluation": {}}) is expected
    assert circle.is_accepted(config, {}) is False  # a reward model at chance: there is no policy


def test_a_round_that_is_as_before_keeps_its_key(tmp_path):
    """Rounds that were done before there were references are not trained again."""
    config = build_config({"model": "first"})
    key = circle.make_policy_key(Round(config, tmp_path, "f.db", "first", tmp_path), {})
    assert len(key) == 3
    assert "reference" not in key[2]
    assert circle.make_policy_key(Round(config, tmp_path, "f.db", "better", tmp_path), {})[3] == {
        "start": None,
        "reference": "first",
    }


def two_rounds_of_answers(circle_round):
    """Judged answers of an earlier model, and the file of this round's, in the database too."""
    rows = [
        {"record": "responses", "prompt": f"Once {number}", "responses": [{"text": f"{model} {each}"} for each in "ab"]}
        for model in ("old", "new")
        for number in range(20)
    ]
    write_jsonl(circle_round.folder / "old.jsonl", rows[:20])
    write_jsonl(circle_round.candidates, rows[20:])
    with Store.open(circle_round.db, create=True) as store:
        for path in (circle_round.folder / "old.jsonl", circle_round.candidates):
            import_file(path, "likelier", store)
    judge_all(circle_round)


def test_the_page_of_a_round_asks_about_its_own_answers_alone(tmp_path, monkeypatch):
    """From round 2 on, of 200 questions new people got 62 about the present model."""
    circle_round, asked = round_in(tmp_path), []
    two_rounds_of_answers(circle_round)

    def serve(store, port, access, wanted, per_comparison, only):
        texts = {response.id: response.text for response in store.responses()}
        asked.extend(texts[pair.response_a] for pair in store.comparisons() if pair.id in only)

    monkeypatch.setattr("likelier.web.server.serve", serve)
    circle.ask_people(circle_round)
    assert len(asked) == 20
    assert {text.split()[0] for text in asked} == {"new"}


@pytest.mark.parametrize(("learn_from", "pairs"), [("all", 80), ("last", 40)])
def test_a_round_may_learn_from_its_own_judgements_alone(tmp_path, learn_from, pairs):
    circle_round = round_in(tmp_path, check_feedback=False, learn_from=learn_from)
    two_rounds_of_answers(circle_round)
    made = circle.make_pairs(circle_round, circle.check_feedback(circle_round))
    assert made["train"] + made["valid"] + made["test"] == pairs

"""The report in Chinese: every sentence has its translation, with the same places, and no English is left on a page."""

import ast
import re
from pathlib import Path

import pytest

import broken_metrics
import demo_folder
from likelier.doctor.examine import examine
from likelier.evaluation.verdict import WORDS
from likelier.feedback.formats import import_file
from likelier.feedback.store import Store
from likelier.files import read_json, write_json, write_jsonl
from likelier.report.evaluation import MEASURED
from likelier.report.languages import (
    LANGUAGES,
    PLACE,
    find_plural,
    load_catalogue,
    translate,
    translate_record,
    use_language,
)
from likelier.report.page import (
    FLAG_DESCRIPTIONS,
    MONTHS,
    UNPENALISED_ARM,
    duration,
    make_environment,
    reach,
    write_report,
)
from likelier.report.tokens import PPO_QUANTITIES, REWARD_QUANTITIES, SIDES, STOP_REASONS
from likelier.stages import STAGES
from report_page import write_agent

SOURCE = Path(__file__).parents[2] / "src" / "likelier"
OTHERS = LANGUAGES[1:]
RECORDED = [*(SOURCE / "doctor" / "findings").glob("*.py"), SOURCE / "evaluation" / "verdict.py",
            SOURCE / "reward" / "verdict.py", SOURCE / "reward" / "people.py",
            SOURCE / "explain" / "sentences.py", SOURCE / "explain" / "keys.py", SOURCE / "report" / "circle_round.py",
            SOURCE / "circle" / "taste.py",
            SOURCE / "feedback" / "panel_audits.py", SOURCE / "feedback" / "taste_report.py"]  # fmt: skip
"""Files whose sentences come to the report by way of a run's records."""
UNSHOWN = {
    "Score - kl_coef * KL is optimised by k1 in the reward (see docs/prove.md)",
    "prefers the new answers in",
    "comparisons, and the interval holds 50 %",
    "the judge",
    "I hope this helps!",
}
"""Pieces of those files that only the terminal shows."""
LATIN = re.compile(r"(?<![0-9])[A-Za-z][A-Za-z0-9’'_./+-]*")
FIELD = {
    "A", "B", "n", "x", "t", "k1", "k2", "k3", "best", "of", "nat", "nat/token", "token", "id", "null", "check", "seed",
    "PPO", "SFT", "DPO", "GAE", "RLOO", "KL", "Gymnasium", "Likelier", "likelier", "sft", "Krippendorff", "Student",
    "alpha", "logits", "logit", "sigmoid", "dropout", "top-k", "top-p", "bfloat16", "recompute",
}  # fmt: skip
"""Words of the field that a Chinese report says in English."""


def list_sentences(*functions):
    """Every sentence that the report's code hands to one of `functions`, and that its template translates."""
    found = set()
    for path in (SOURCE / "report").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in functions and node.args:
                found |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    for template in (SOURCE / "report" / "templates").glob("*.html"):
        for _, name, message in make_environment().extract_translations(template.read_text("utf-8")):
            several = message[1] if name == "ngettext" else message[0]
            found.add(message if isinstance(message, str) else several)
    return found


def list_words():
    """The words that come to the page from tables and records of ours."""
    stages = list(STAGES.values())
    metrics = [stage.find_metric(name) for stage in stages for name in stage.curves]
    yield from (title for stage in stages for title in (stage.title, *stage.curves.values()))
    yield from (metric.unit for metric in metrics if metric and metric.unit)
    yield from (word for pair in MEASURED.values() for word in pair)
    yield from (*WORDS.values(), *FLAG_DESCRIPTIONS.values(), *MONTHS, UNPENALISED_ARM)
    yield from ("check on", "check off", "nobody misbehaves", "true taste", "info", "warning", "error")
    yield from (word for each in (*PPO_QUANTITIES, *REWARD_QUANTITIES) for word in (each.name, each.about))
    yield from (*STOP_REASONS.values(), *SIDES.values())
    yield from ("sample", "old logprobs", "reference", "update")
    yield from (*(name for name, _, _ in demo_folder.STATIONS), "against the first model")


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_of_the_page_is_there(language):
    page = load_catalogue(language)["page"]
    assert (list_sentences("translate") | set(list_words())) - page.keys() == set()


@pytest.mark.parametrize("language", OTHERS)
def test_no_sentence_is_left_that_nobody_says(language):
    code = "".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    said = list_sentences("translate") | set(list_words())
    assert [key for key in load_catalogue(language)["page"] if key not in said and f'"{key}"' not in code] == []


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("section", ["page", "records"])
def test_a_translation_has_the_places_of_its_sentence(language, section):
    for english, other in load_catalogue(language)[section].items():
        assert sorted(PLACE.findall(english)) == sorted(PLACE.findall(other)), english
        assert re.sub(r"%\(\w+\)s|%%", "", other).count("%") == 0, other
        assert other.strip() or not english.strip()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_piece_of_a_recorded_sentence_is_in_some_translation(path):
    keys = [key for section in load_catalogue("zh").values() for key in section]
    known = "\n".join(PLACE.sub("\0", key).replace("%%", "%") for key in keys)
    pieces = {piece for piece in list_pieces(ast.parse(path.read_text("utf-8"))) if is_sentence(piece)}
    assert [piece for piece in pieces if piece.strip(" .,;:") not in known and piece.strip(" .") not in UNSHOWN] == []


def list_pieces(tree):
    """The literal texts of a module, without its docstrings and what it raises."""
    kept_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print_note"):
            kept_out |= {id(each) for each in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in kept_out:
            yield node.value


def is_sentence(piece):
    """True for two words or more; names of metrics, steps and separators are figures."""
    words = re.findall(r"(?<![\w_])[A-Za-z]{2,}(?![\w_])", piece)
    return len(words) >= 2 and " " in piece.strip() and piece != " in steps 1 to "


def find_english(page):
    """The English words of a page beside what is a user's: prompts, responses, names, settings, commands."""
    page = re.sub(r'<(pre|code|style)\b.*?</\1>|<span class="flag">.*?</span>', "", page, flags=re.DOTALL)
    page = re.sub(r'<p class="prompt">.*?</p>|<dl class="(settings|columns)">.*?</dl>', "", page, flags=re.DOTALL)
    page = re.sub(r'(</h3>)<p>.*?</p>|<th scope="row">.*?</th>|<p>python .*?</p>', r"\1", page, flags=re.DOTALL)
    labels = re.findall(r'(?:aria-label|data-label|alt)="([^"]*)"|<title>([^<]*)', page)
    text = re.sub(r"<[^>]*>", " ", page) + " ".join(word for pair in labels for word in pair)
    return [word for word in LATIN.findall(text) if word.strip("./-") not in FIELD and "_" not in word]


def render_chinese(*folders, db=None):
    out = (folders[0].parent if folders else Path(db).parent) / "zh.html"
    write_report(folders, out, db, "zh")
    return out.read_text("utf-8")


def test_a_demo_in_chinese(tmp_path):
    demo = demo_folder.write_demo(tmp_path / "demo")
    arms = read_json(demo / "arms.json")
    turning = ("Without a KL penalty the true taste peaked at 0.75, 11.0 nats away, and fell to 0.42 at 24.5 nats, "
               "while the learned score went from 1.20 to 3.40.")  # fmt: skip
    write_json(demo / "arms.json", arms | {"turning_point": turning})
    circle = read_json(demo / "circle.json")
    taste = {"name": "kind", "description": "A kind ending, briefly told, without repetition"}
    stages = [stage | ({"note": "每个提示 4 个"} if stage["note"] == "model" else {}) for stage in circle["stages"]]
    write_json(demo / "circle.json", circle | {"taste": taste, "stages": stages})
    (demo / "policy" / "timing.jsonl").write_text('{"step": 1, "old_logprobs_seconds": 3.0, "update_seconds": 1.0}\n')
    page = render_chinese(demo)
    assert '<html lang="zh">' in page
    assert "用时 3 分 41 秒" in page
    assert "在留出提示上的 288 次比较中，新模型的回答有 <b>84\u00a0%</b>（79–88\u00a0%）更受偏好" in page
    assert re.search(r"20\d\d 年 \d+ 月 \d+ 日", page)
    names = {*demo_folder.PEOPLE, "word", "list", "demo", "policy", "reward", "model", "kind", "ppo", "sans-serif"}
    assert [word for word in find_english(page) if word not in names] == []
    assert "Before and after" not in page


def test_an_evaluation_by_people_with_all_its_limits_in_chinese(tmp_path):
    judged = demo_folder.evaluation()
    share = {"win_rate": 0.84, "interval": [0.4, 0.9]}
    judged["samples"][0]["share_b"] = 0.5
    proof = {"judge": {"accuracy": 0.45, "accuracy_interval": [0.4, 0.5], "pairs": 300}}
    numbers = {"score": [0.1, 0.2, 0.3], "length": [10, 20, 30], "kl": [0.0, 0.1, 0.2]}
    longer = numbers | {"length": [5, 20, 60], "score": [0.2, 0.1, 0.3]}
    judged |= {
        "num_prompts": 1,
        "kl": -0.1,
        "judgements": 1,
        "people": 1,
        "unjudged": 3,
        "training_errors": ["kl_explodes"],
        "judges": {"judge": share | {"score_b": 0.5}, "people": share | {"judgements": 1, "people": 1}},
        "judge_accuracy": proof,
        "a": judged["a"] | {"ended_rate": 0.5},
        "worst": judged["samples"][:2],
        "responses": {"a": numbers, "b": longer},
        "others": [{"name": "DPO", "kl": 2.0, "judges": {"judge": {"score_b": 0.4}}}],
    }
    write_json(tmp_path / "run" / "evaluation.json", judged)
    page = render_chinese(tmp_path / "run")
    assert "评判者未经证实。" in page
    assert "人 (1 人的 1 个判断)" in page
    assert [
        word for word in find_english(page) if word not in {"judge", "policy", "demo", "model", "eval.response"}
    ] == []


def test_an_agent_a_search_and_people_in_chinese(tmp_path):
    page = render_chinese(write_agent(tmp_path / "run"))
    assert [word for word in find_english(page) if word not in {"CartPole-v1", "run", "gym"}] == []
    write_jsonl(
        tmp_path / "in.jsonl", [{"prompt": "p", "left": "l", "right": "r", "choice": "left", "simulated": True}]
    )
    with Store.open(tmp_path / "f.db", create=True) as store:
        import_file(tmp_path / "in.jsonl", "likelier", store)
    page = render_chinese(db=str(tmp_path / "f.db"))
    assert "1 个比较的 1 个判断，其中 1 个是<strong>模拟的</strong>" in page
    assert find_english(page) == []
    page = render_chinese(demo_folder.write_search(tmp_path / "search"))
    assert "以 score_after 评判：越大越好" in page
    left = {
        "ppo.learning",
        "rate",
        "linear",
        "constant",
        "loss",
        "is",
        "NaN",
        "at",
        "step",
        "ppo.lr",
        "schedule",
        "ppo",
        "score",
        "after",
        "search",
    }
    assert [word for word in find_english(page) if word not in left] == []


def test_the_doctor_in_chinese():
    """Runs that are ill in many ways at once: none of their sentences stays English."""
    ill = [
        broken_metrics.history(kl=30.0, approx_kl=0.5, clipfrac=0.6),
        broken_metrics.history({"gamma": 0.9}, response_length=2.0, entropy=0.01, ended_rate=0.0),
        broken_metrics.history({"kl_place": "loss"}, score=0.0, score_std=0.0, grad_norm=90.0, grad_clipped=1.0),
        broken_metrics.history(sampler_difference=0.5, sampler_difference_max=3.0, first_ratio_deviation=0.2),
        broken_metrics.history(explained_variance=-0.9, explained_variance_mc=-0.8, repetition=0.7, ratio=2.0),
        broken_metrics.history(kl=-0.5, clipfrac=0.0, score=0.0),
    ]
    findings = [finding for run in ill for finding in examine(run)]
    assert len({finding.name for finding in findings}) >= 12
    names = {"kl", "clipfrac", "entropy", "repetition", "ratio", "score", "gamma", "pi", "log", "lam", "cliprange"}
    names |= FIELD | {"reward", "weight", "loss", "separate"}  # metrics, settings and their values
    with use_language("zh"):
        for finding in findings:
            for text in (finding.evidence, finding.cause, finding.remedy):
                words = LATIN.findall(translate_record(text))
                left = [word for word in words if not {"_", "."} & set(word) and word.strip("-") not in names]
                assert not left, (text, translate_record(text))


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("clipfrac 0.5 in steps 1 to 4, cliprange 0.2", "clipfrac 0.5（第 1–4 步），cliprange 0.2"),
        ("kl 3.2 in step 9 nats a response; 0.5 a token", "kl 每个回答 3.2（第 9 步） nat；每 token 0.5"),
        ("The penalty is not the KL: k1 in the loss has no gradient on average, so there is no penalty at all; a",
         "惩罚项不是 KL：损失中的 k1 平均没有梯度，等于没有惩罚；a"),
        ("2,304 responses", "2,304 个回答"),
        ("What nobody has translated, 5 steps of it", "What nobody has translated, 5 steps of it"),
        (None, None),
        (3, 3),
    ],
)  # fmt: skip
def test_sentences_of_records(english, chinese):
    assert translate_record(english) == english
    with use_language("zh"):
        assert translate_record(english) == chinese


def test_numbers_and_plurals():
    assert (duration(221.4), reach([1.0, 2.0])) == ("3 min 41 s", "1 to 2")
    assert find_plural("%(people)s person", "%(people)s people", 1) == "%(people)s person"
    with use_language("zh"):
        assert (duration(221.4), reach([1.0, 2.0])) == ("3 分 41 秒", "1 至 2")
        assert find_plural("%(people)s person", "%(people)s people", 1) == "%(people)s 人"
        assert translate("best of %(n)s", n=4) == "4 选 1"
    assert translate("best of %(n)s", n=4) == "best of 4"

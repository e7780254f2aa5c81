"""The example of translation: its words by hand, and a run of it in small."""

import json
import sys

import pytest
import translate
from words import NUMBERS, write, write_pairs

from likelier.files import read_jsonl


@pytest.mark.parametrize(
    ("thing", "right", "word_by_word"),
    [
        (
            ("number", 2753, 0),
            ("two thousand seven hundred and fifty-three", "zweitausendsiebenhundertdreiundfünfzig",
             "deux mille sept cent cinquante-trois", "二千七百五十三"),
            ("two thousand seven hundred and three and fifty", "zweitausendsiebenhundertfünfzigdrei",
             "deux mille sept cent cinquante-trois", "二千七百五十三"),
        ),
        (
            ("number", 1071, 0),
            ("one thousand and seventy-one", "eintausendeinundsiebzig", "mille soixante et onze", "一千零七十一"),
            ("one thousand and one and seventy", "eintausendsiebzigeins", "mille septante et un", "一千七十一"),
        ),
        (
            ("number", 280, 0),
            ("two hundred and eighty", "zweihundertachtzig", "deux cent quatre-vingts", "二百八十"),
            ("two hundred and eighty", "zweihundertachtzig", "deux cent huitante", "二百八十"),
        ),
        (
            ("date", 8, 1),
            ("the first of August", "der erste August", "le premier août", "八月一日"),
            ("one August", "eins August", "le un de août", "一日八月"),
        ),
        (
            ("date", 12, 23),
            ("the twenty-third of December", "der dreiundzwanzigste Dezember", "le vingt-trois décembre",
             "十二月二十三日"),
            ("twenty-three December", "dreiundzwanzig Dezember", "le vingt-trois de décembre", "二十三日十二月"),
        ),
        (
            ("time", 12, 30),
            ("half past twelve", "halb eins", "douze heures et demie", "十二点半"),
            ("half one", "halb zwölf", "demie après douze heures", "十二点半"),
        ),
        (
            ("time", 1, 45),
            ("quarter to two", "Viertel vor zwei", "deux heures moins le quart", "差一刻两点"),
            ("two to quarter", "zwei vor Viertel", "quart à deux heures", "两点一刻"),
        ),
        (
            ("time", 1, 0),
            ("one o'clock", "ein Uhr", "une heure", "一点"),
            ("one o'clock", "ein Uhr", "une heure", "一点"),
        ),
    ],
)  # fmt: skip
def test_words(thing, right, word_by_word):
    languages = ("en", "de", "fr", "zh")
    assert tuple(write(each, thing) for each in languages) == right
    assert tuple(write(each, thing, literal=True) for each in languages) == word_by_word


def test_no_number_is_written_like_another():
    for language, say in NUMBERS.items():
        assert len({say(number, False) for number in range(1, 10_000)}) == 9999, language


def test_no_pair_stands_in_two_files(tmp_path):
    write_pairs(tmp_path, 0, 2000, 300, 100)
    taught, asked, unseen, told = (
        [line for _, line in read_jsonl(tmp_path / f"{name}.jsonl")] for name in ("taught", "asked", "unseen", "told")
    )
    prompts = [line["prompt"] for line in taught + asked + unseen]
    assert len(set(prompts)) == len(prompts) == 2400
    assert [line["completion"] for line in told] == [f"\n{line['reference']}" for line in asked]


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["translate.py", "--short", "200", "--out", str(tmp_path)])
    for name, value in (("TAUGHT", 600), ("ASKED", 60), ("UNSEEN", 10), ("RANKED", 6000), ("LENGTH", 12)):
        monkeypatch.setattr(translate, name, value)
    monkeypatch.setattr(translate, "TOLD", translate.TOLD | {"max_steps": 2})
    for name in ("PPO", "LEARNED"):
        monkeypatch.setattr(translate, name, getattr(translate, name) | {"batch_size": 32})
    translate.main()
    (found,) = json.loads((tmp_path / "translation.json").read_text())
    assert set(found) == {"seed", "start", "sft", "ppo, chrF", "ppo, exact match", "ppo, rankings"}
    assert all(0 <= found[arm][name] <= 1 for arm in found if arm != "seed" for name in ("exact", "chrF, likeliest"))
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found

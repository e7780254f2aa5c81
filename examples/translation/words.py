"""Numbers, dates and times of day in words of English, German, French and Chinese: exact references without end.

    python examples/translation/words.py --out runs/words

A pair asks for one such thing in another language, `en>de: half past three` with `halb vier` as `reference`. Teachers
translate half of what they are taught word by word, as learners do: `dreiundfünfzig` becomes `fünfzigdrei`, `halb
vier` half past four. Three files: `taught.jsonl` (their translations, for SFT), `asked.jsonl` (others, with references,
for PPO) and `told.jsonl` (the references of these, for SFT beside PPO).
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

from likelier.files import write_jsonl

cut = str.split
WORD_BY_WORD = 0.5
EN = cut(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
EN_TENS = cut("- - twenty thirty forty fifty sixty seventy eighty ninety")
EN_FIRST = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
            "twelve": "twelfth"}  # fmt: skip
DE = cut(
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
    "sechzehn siebzehn achtzehn neunzehn"
)
DE_TENS = cut("- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
DE_FIRST = {"eins": "erste", "drei": "dritte", "sieben": "siebte", "acht": "achte"}
FR = cut(
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize "
    "dix-sept dix-huit dix-neuf"
)
FR_TENS = cut("- - vingt trente quarante cinquante soixante soixante quatre-vingt quatre-vingt")
ZH = "零一二三四五六七八九"
MONTHS = {
    "en": cut("January February March April May June July August September October November December"),
    "de": cut("Januar Februar März April Mai Juni Juli August September Oktober November Dezember"),
    "fr": cut("janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
}


def english(number: int, literal: bool = False) -> str:
    """53 as fifty-three, word by word from German three and fifty."""
    if number >= 100:
        size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
        rest = number % size
        joined = "" if not rest else f" {'and ' if rest < 100 else ''}{english(rest, literal)}"
        return f"{english(number // size)} {name}{joined}"
    tens, ones = divmod(number, 10)
    if number < 20 or not ones:
        return EN[number] if number < 20 else EN_TENS[tens]
    return f"{EN[ones]} and {EN_TENS[tens]}" if literal else f"{EN_TENS[tens]}-{EN[ones]}"


def german(number: int, literal: bool = False) -> str:
    """53 as dreiundfünfzig, word by word from English fünfzigdrei."""
    if number >= 100:
        size, name = (1000, "tausend") if number >= 1000 else (100, "hundert")
        count = "ein" if number // size == 1 else german(number // size)
        return f"{count}{name}{german(number % size, literal) if number % size else ''}"
    tens, ones = divmod(number, 10)
    if number < 20 or not ones:
        return DE[number] if number < 20 else DE_TENS[tens]
    return f"{DE_TENS[tens]}{DE[ones]}" if literal else f"{'ein' if ones == 1 else DE[ones]}und{DE_TENS[tens]}"


def french(number: int, literal: bool = False) -> str:
    """73 as soixante-treize, word by word septante-trois (as in Belgium and Switzerland, where no one is wrong)."""
    if number >= 100:
        size, name = (1000, "mille") if number >= 1000 else (100, "cent")
        count, rest = divmod(number, size)
        several = f"{french(count)} " if count > 1 else ""
        plural = "s" if name == "cent" and count > 1 and not rest else ""
        return f"{several}{name}{plural}{' ' + french(rest, literal) if rest else ''}"
    tens, ones = divmod(number, 10)
    if number < 20:
        return FR[number]
    if literal and tens in (7, 8, 9):
        rest = " et un" if ones == 1 else f"-{FR[ones]}" if ones else ""
        return ("septante", "huitante", "nonante")[tens - 7] + rest
    if number == 80:
        return "quatre-vingts"
    ones += 10 * (tens in (7, 9))
    return (
        FR_TENS[tens] + (" et " if ones in (1, 11) and tens < 8 else "-" if ones else "") + (FR[ones] if ones else "")
    )


def chinese(number: int, literal: bool = False) -> str:
    """2005 as 二千零五, word by word without the zero 二千五, which is 2500."""
    written, gap = "", False
    for size, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // size % 10
        if digit:
            written += ("零" if gap and not literal else "") + ZH[digit] + name
        gap = bool(written) and not digit
    return written.removeprefix("一") if 10 <= number < 20 else written


NUMBERS: dict[str, Callable[[int, bool], str]] = {"en": english, "de": german, "fr": french, "zh": chinese}


def write_date(language: str, month: int, day: int, literal: bool = False) -> str:
    """The third of March; word by word with the number as counted, or in the other order."""
    if language == "zh":
        parts = [f"{chinese(month)}月", f"{chinese(day)}日"]
        return "".join(parts[::-1] if literal else parts)
    said, name = NUMBERS[language](day, False), MONTHS[language][month - 1]
    if language == "en":
        first, _, last = said.rpartition("-")
        last = EN_FIRST.get(last, last[:-1] + "ieth" if last.endswith("y") else last + "th")
        return f"{said} {name}" if literal else f"the {first + '-' if first else ''}{last} of {name}"
    if language == "de":
        ordinal = DE_FIRST.get(said, said + ("te" if day < 20 else "ste"))
        return f"{said} {name}" if literal else f"der {ordinal} {name}"
    return f"le {said} de {name}" if literal else f"le {'premier' if day == 1 else said} {name}"


def write_time(language: str, hour: int, minute: int, literal: bool = False) -> str:
    """Half past three; word by word what sounds alike in another language: half four. Hours are 1 to 12."""
    say, following = NUMBERS[language], hour % 12 + 1
    to = minute > 30
    distance, named = (60 - minute if to else minute), (following if to else hour)
    if language == "zh":
        spoken = "两" if named == 2 else chinese(named)
        amount = (
            "" if not distance else "半" if distance == 30 else "一刻" if distance == 15 else f"{chinese(distance)}分"
        )
        before = to is not literal and to
        return f"{'差' + amount if before else ''}{spoken}点{'' if before else amount}"
    o_clock = {"en": f"{say(named, False)} o'clock", "de": f"{'ein' if named == 1 else say(named, False)} Uhr",
               "fr": f"{'une heure' if named == 1 else french(named) + ' heures'}"}[language]  # fmt: skip
    if not distance:
        return o_clock
    if language == "fr":
        amount = {15: "quart", 30: "demie"}.get(distance, french(distance))
        joined = ("moins le " if distance == 15 else "moins ") if to else ("et " if distance in (15, 30) else "")
        return f"{amount} {'à' if to else 'après'} {o_clock}" if literal else f"{o_clock} {joined}{amount}"
    if distance == 30:
        if language == "en":
            return f"half {say(following, False)}" if literal else f"half past {say(hour, False)}"
        return f"halb {say(hour if literal else following, False)}"
    quarter = {"en": "quarter", "de": "Viertel"}[language]
    amount = quarter if distance == 15 else say(distance, False)
    word = {"en": ("past", "to"), "de": ("nach", "vor")}[language][to]
    return f"{say(named, False)} {word} {amount}" if literal else f"{amount} {word} {say(named, False)}"


def write(language: str, thing: tuple[str, int, int], literal: bool = False) -> str:
    """A number, a date (month and day) or a time (hour and minute) in words."""
    kind, first, second = thing
    if kind == "number":
        return NUMBERS[language](first, literal)
    return (write_date if kind == "date" else write_time)(language, first, second, literal)


def draw_thing(draw: random.Random) -> tuple[str, int, int]:
    """Numbers up to 9,999, days of the year, and times of day by five minutes."""
    kind = draw.choice(("number", "date", "time"))
    if kind == "number":
        return kind, int(10 ** draw.uniform(1, 4)), 0
    if kind == "date":
        month = draw.randint(1, 12)
        return kind, month, draw.randint(1, 28 if month == 2 else 30 if month in (4, 6, 9, 11) else 31)
    return kind, draw.randint(1, 12), 5 * draw.randint(0, 11)


def write_pairs(out: Path, seed: int, num_taught: int, num_asked: int, num_unseen: int = 500) -> None:
    """Write the files, and `unseen.jsonl` as `asked.jsonl`; no pair stands in two."""
    draw, found = random.Random(seed), dict[str, tuple[str, str]]()
    while len(found) < num_taught + num_asked + num_unseen:
        (source, target), thing = draw.sample(sorted(NUMBERS), 2), draw_thing(draw)
        literal = write(target, thing, draw.random() < WORD_BY_WORD)
        found.setdefault(f"{source}>{target}: {write(source, thing)}", (f"\n{literal}", write(target, thing)))
    drawn = [(prompt, *both) for prompt, both in found.items()]
    taught, asked, unseen = drawn[:num_taught], drawn[num_taught:-num_unseen], drawn[-num_unseen:]
    write_jsonl(out / "taught.jsonl", [{"prompt": prompt, "completion": said} for prompt, said, _ in taught])
    write_jsonl(out / "told.jsonl", [{"prompt": prompt, "completion": f"\n{right}"} for prompt, _, right in asked])
    for name, pairs in (("asked", asked), ("unseen", unseen)):
        write_jsonl(out / f"{name}.jsonl", [{"prompt": prompt, "reference": right} for prompt, _, right in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/words"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--taught", type=int, default=6000)
    parser.add_argument("--asked", type=int, default=3000)
    given = parser.parse_args()
    write_pairs(given.out, given.seed, given.taught, given.asked)


if __name__ == "__main__":
    main()

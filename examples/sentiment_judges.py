"""Scores as Python functions: a bag of words fitted on people's labels, and a list of words of our own.

`sentiment.py` copies this file beside `words.json`, which holds the fitted weights; a config names its functions.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from likelier.reward.check import BagOfWords

PLEASANT_WORDS = """
adore adored adores adventure amazing amused amusing applause awesome beautiful beautifully beauty best better blessed
bliss brave bravely bright brightly brilliant calm care cared careful caring celebrate celebrated charm charming cheer
cheered cheerful cheerfully clean clever comfort comfortable compassion confident content cool courage cozy cuddle
cuddled curious cute dance danced dazzling dear delicious delight delighted delightful dream eager easy elegant
encouraged enjoy enjoyable enjoyed enjoys excellent excited excitedly exciting fabulous fair faithful fantastic
favorite feast festive fine flower flowers free fresh friend friendly friends friendship fun funny gentle gently gift
gifts giggle giggled glad gladly glorious glow glowing good gorgeous grace graceful grateful great grin grinned
happier happily happiness happy harmony heal healthy heart helped helpful hero honest hope hopeful hug hugged hugs
humor hurray imagination impressed impressive inspired inspiring interesting jolly joy joyful joyfully kind kindly
kindness kiss kissed laugh laughed laughing laughs laughter lively love loved lovely loves loving loyal luck lucky
magic magical magnificent marvelous masterpiece merry nice nicely outstanding party passion peace peaceful perfect
perfectly play played playful playing pleasant pleased pleasure polite praise praised precious pretty proud proudly
rainbow refreshing relaxed remarkable reward rich safe safely satisfied shared sharing shine shining shiny silly sing
singing smart smile smiled smiles smiling smooth soft sparkle sparkled sparkling special spectacular splendid strong
success successful sunny sunshine superb surprise sweet sweetly talented tasty tender terrific thank thanked thankful
thanks thoughtful thrilled touching treasure treat triumph true warm warmth welcome win wins wise wish won wonder
wonderful wonderfully wow yay yummy
"""
UNPLEASANT_WORDS = """
abandoned abuse accident ache afraid alone anger angrily angry annoyed annoying anxious argue argued ashamed awful
awkward bad badly beg bit bite bitten bitter blame blamed bleak blood bored boring bossy break broke broken bruise
bully burn burned burnt careless chaos cheat cheated cold complained confused confusing cough crash crashed crazy
creepy cried cries cross cruel crumbled cry crying cursed damage damaged danger dangerous dark dead death despair
desperate destroy destroyed die died dies dirty disappointed disappointing disappointment disaster disgusting dreadful
drowned dull dumb dying embarrassed empty enemy evil fail failed fails failure fake fault fear fell fight fighting
foolish forgot fought fright frightened frightening frown frowned frustrated furious ghost gloomy greedy grief grumpy
guilty harm harsh hate hated hates heartbroken helpless hit hopeless horrible horror hungry hurt hurting hurts ill
injured jail jealous kill killed lame lazy lies lonely lose loses losing loss lost loud mad mean mess messy miserable
missed missing mistake mocked monster mud nasty naughty nervous nightmare noise noisy obnoxious ouch pain painful
panic pathetic pointless poor problem problems punish punished quarrel rage ridiculous rotten rough rude ruin ruined
sad sadly sadness scared scary scold scolded scratch scream screamed selfish shabby shallow shame sharp shock shouted
sick sigh sighed slap slow smelly sneaky sobbed sore sorrow sorry sour spoiled stale steal stole stolen storm stormy
stuck stupid suffer suffered tasteless tears tedious terrible terribly terrified thief threat thunder tired trap
trapped trouble ugly unfair unfunny unhappy unkind upset useless violent waste wasted weak weep wept wicked worried
worry worse worst worthless wound wrong yell yelled
"""
PLEASANT, UNPLEASANT = frozenset(PLEASANT_WORDS.split()), frozenset(UNPLEASANT_WORDS.split())
WORD = re.compile(r"[a-z]+")


def word_list(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Pleasant minus unpleasant words, per hundred words of prompt and response."""
    return [valence(prompt + response) for prompt, response in zip(prompts, responses, strict=True)]


def valence(text: str) -> float:
    words = WORD.findall(text.lower())
    return 100 * sum((word in PLEASANT) - (word in UNPLEASANT) for word in words) / max(1, len(words))


def bag_of_words(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Log odds of a positive label by logistic regression on single words of prompt and response."""
    texts = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    return [float(score) for score in fitted().scores(texts)]


@lru_cache(maxsize=1)
def fitted() -> BagOfWords:
    found = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))
    return BagOfWords(found["vocabulary"], np.array(found["weights"]))

"""Generator of small stories, the only training data of the embedded model."""

import random
import zlib
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key")

HEROES = {
    "Mia": "she", "Tom": "he", "Lily": "she", "Ben": "he", "Anna": "she", "Max": "he",
    "Rosa": "she", "Sam": "he", "Nora": "she", "Leo": "he", "Ida": "she", "Finn": "he",
}  # fmt: skip
KINDS = ("fox", "bear", "mouse", "rabbit", "duck", "badger", "frog", "cat")
EVENTS = ("found", "made", "dug up", "were given")
LOOKS = ("big", "little", "shiny", "dusty", "strange", "pretty", "broken", "heavy")
THINGS = {
    "kite": ("flew it over the hill", "tied a ribbon to it", "ran with it into the wind"),
    "drum": ("played it all morning", "tapped it with two sticks", "beat it like thunder"),
    "boat": ("sailed it on the pond", "pushed it through the reeds", "gave it a name"),
    "cake": ("carried it on a leaf", "cut it with a reed", "put a candle on it"),
    "lamp": ("lit it with care", "held it high in the dark", "hung it on a nail"),
    "ball": ("rolled it down the road", "threw it over the fence", "spun it on one paw"),
    "hat": ("wore it in the rain", "turned it inside out", "put a feather in it"),
    "bell": ("rang it three times", "hung it on a branch", "tied it to a string"),
    "map": ("read it under a tree", "followed it for a mile", "folded it very small"),
    "basket": ("filled it with nuts", "took it to the market", "sat in it for a while"),
    "flute": ("played a slow tune on it", "blew the dust out of it", "whistled along with it"),
    "book": ("read it by the fire", "turned every page of it", "drew a star in it"),
}
PLACES = (
    "in the garden", "by the river", "under a bridge", "on the hill", "near the mill", "behind the barn",
    "at the market", "beside the road",
)  # fmt: skip
NATURES = ("old", "small", "shy", "lost", "tired", "young", "blind", "thin", "lame", "new")
FRIENDS = ("turtle", "goat", "pig", "puppy", "horse", "crow", "mole", "hen", "donkey", "neighbour")
COLOURS = (
    "red", "blue", "green", "golden", "silver", "purple", "orange", "white", "pink", "black",
    "yellow", "crimson",
)  # fmt: skip
SMELLS = ("honey", "apples", "smoke", "roses", "bread", "salt", "mint", "pepper", "hay", "ginger", "pine", "soap")
DEEDS = {
    "climbed": ("cliff", "tower", "wall", "oak"),
    "crossed": ("bridge", "swamp", "desert", "ice"),
    "jumped over": ("ditch", "stream", "fire", "gate"),
    "swam through": ("lake", "flood", "sea", "waterfall"),
    "crept into": ("cave", "forest", "tunnel", "castle"),
    "chased away": ("wolf", "snake", "hawk", "giant"),
}
DANGERS = ("dark", "cold", "wild", "lonely", "secret", "great", "icy", "haunted")
WEATHERS = (
    "The wind was warm that day.", "Soft rain fell on the grass.", "Far away a dog barked.", "The birds were quiet.",
    "A cloud passed over the sun.", "It was almost noon.", "Somewhere a door creaked.", "Leaves danced in the air.",
)  # fmt: skip

# Templates: {He} is the hero, {friend} the friend, and every other name in braces a list in SLOTS.
MIDDLES = {
    "thing": ("{He} {used}.", "First {he} {used}.", "All alone {he} {used}.", "Slowly {he} {used}."),
    "colour": (
        "It was {colour} and smelled of {smell}.",
        "It shone {colour} in the {light}.",
        "All around grew {colour} {plant}.",
        "The air smelled of {smell}.",
        "{A_colour} {flyer} flew by.",
        "{He} wrapped it in {colour} {cloth}.",
    ),
    "deed": tuple(f"{{He}} {verb} the {{danger}} {{{verb}}}." for verb in DEEDS),
    "weather": WEATHERS,
    "friend": (
        "{Friend} sat down on a stone.",
        "{Friend} asked to see it.",
        "{Friend} was hungry and cold.",
        "{Friend} stood and watched.",
        "{Friend} knew nothing about it.",
    ),
    "talk": (
        '"What a {praise} {thing}," said {friend}.',
        '"May I {try} it?" asked {friend}.',
        '"I am not afraid of {fear}," said {hero}.',
        '"Let us {plan}," said {hero}.',
        '"Who lost a {thing}?" asked {hero}.',
        '"I dreamed of a {look} {thing}," said {friend}.',
        '"Can you {plan}?" asked {friend}.',
    ),
    "care": ("{He} smiled at {friend}.", "{He} shared a nut with {friend}.", "{He} gave {friend} a hand."),
    "again": ("On and on and on {he} went.", "{He} laughed and laughed and laughed."),
}
ENDINGS = {
    "kind": (
        "{He} gave it to {friend} with a {gesture}.",
        "{He} shared {meal} with {friend}.",
        "{He} helped {friend} {way}.",
        "Then {he} and {friend} hugged and {joy}.",
        "Then {he} made {comfort} for {friend}.",
        "So {he} invited {friend} {visit}.",
    ),
    "plain": (
        "Then {he} went home {how}.",
        "{He} put it {store}.",
        "{He} left it {place} and walked on.",
        "In the end {he} fell asleep {bed}.",
        "After that {over}.",
        "So {friend} {leave}.",
    ),
    "mean": (
        "{He} hid it from {friend}.",
        "{He} kept it {greed}.",
        "{He} laughed at {friend} and {flight}.",
        "Then {he} pushed {friend} {shove}.",
        "So {he} told {friend} to {refusal}.",
    ),
}
SLOTS = DEEDS | {
    "look": LOOKS,
    "danger": DANGERS,
    "colour": COLOURS,
    "smell": SMELLS,
    "light": ("morning sun", "moonlight", "evening sky", "deep water", "lamplight", "snow"),
    "plant": ("berries", "ferns", "mushrooms", "lilies", "tulips", "grapes"),
    "flyer": ("moth", "beetle", "finch", "butterfly", "bee", "feather"),
    "cloth": ("silk", "paper", "leaves", "wool", "velvet"),
    "praise": ("fine", "lovely", "funny", "splendid", "wonderful"),
    "try": ("try", "hold", "keep", "borrow", "paint"),
    "fear": ("you", "ghosts", "storms", "anything", "the night"),
    "plan": ("go on", "sing", "wait here", "look inside", "run", "build a house"),
    "place": PLACES,
    "gesture": ("smile", "hug", "bow", "song", "flower"),
    "meal": ("it", "supper", "everything", "the last apple"),
    "way": ("up the hill", "to the door", "over the river", "out of the mud", "until dark"),
    "joy": ("sang", "danced", "were friends", "played until dark", "told stories"),
    "comfort": ("soup", "tea", "a warm bed", "a fire", "a soft scarf"),
    "visit": ("to supper", "in for tea", "to stay", "to the fair"),
    "how": ("for supper", "to bed", "by moonlight", "the long way", "without a word"),
    "store": ("under the bed", "on a shelf", "in a box", "by the door"),
    "bed": ("under a tree", "in the hay", "by the fire", "on the grass"),
    "over": ("the day was over", "it was time for bed", "it began to rain", "nobody came"),
    "leave": ("went away", "went back to work", "said goodbye", "walked on alone"),
    "greed": ("and locked the door", "and told no one", "for good", "and asked for more"),
    "flight": ("ran away", "ran off", "slammed the door"),
    "shove": ("into the mud", "aside", "out of the door", "into the pond"),
    "refusal": ("go away", "stop crying", "pay for it", "get lost"),
}
LENGTHS = {0: 5, 1: 22, 2: 33, 3: 26, 4: 14}
"""Weights of the number of sentences between opening and ending; the tables below are weights too."""
TURNS = {"thing": 14, "colour": 32, "deed": 20, "weather": 6, "friend": 8, "talk": 20, "care": 5, "again": 3}
OUTCOMES = {"kind": 30, "plain": 45, "mean": 25}
REPEATS = {True: 15, False: 85}
HELD_OUT_MODULUS = 8
"""One opening in eight is held out of the model's training stories."""


@dataclass(frozen=True)
class Opening:
    """The parts of a story's first sentence, which is the prompt."""

    hero: str
    kind: str
    nature: str
    friend: str
    event: str
    look: str
    thing: str
    place: str

    @property
    def text(self) -> str:
        """The sentence."""
        pair = f"{self.hero} the {self.kind} and the {self.nature} {self.friend}"
        return f"{pair} {self.event} a {self.look} {self.thing} {self.place}."

    @property
    def held_out(self) -> bool:
        """True if no training story begins with this sentence; decided by a hash of it."""
        return zlib.crc32(self.text.encode()) % HELD_OUT_MODULUS == 0


def sample_openings(seed: int, count: int) -> list[str]:
    """Sample `count` distinct prompts from the 3.7 million held out of the embedded model's training."""
    generator = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[sample_opening(generator, held_out=True).text] = None
    return list(texts)


def sample_opening(generator: random.Random, held_out: bool) -> Opening:
    """Sample an opening by rejection, from the held-out or from the training openings."""
    while True:
        lists = (list(HEROES), KINDS, NATURES, FRIENDS, EVENTS, LOOKS, list(THINGS), PLACES)
        opening = Opening(*(generator.choice(names) for names in lists))
        if opening.held_out == held_out:
            return opening


def sample_story(generator: random.Random) -> tuple[str, str]:
    """Sample a (prompt, response) pair for training."""
    opening = sample_opening(generator, held_out=False)
    return opening.text, sample_response(generator, opening)


def sample_response(generator: random.Random, opening: Opening) -> str:
    """Sample up to four sentences and an ending; sometimes a sentence is repeated."""
    slots = SlotFiller(generator, opening)
    length, ending = (
        choose_weighted(generator, LENGTHS),
        generator.choice(ENDINGS[choose_weighted(generator, OUTCOMES)]),
    )
    sentences: dict[str, str] = {}
    while len(sentences) < length:
        sentence = generator.choice(MIDDLES[choose_weighted(generator, TURNS)])
        if sentence not in sentences:
            sentences[sentence] = sentence.format_map(slots)
    middle = list(sentences.values())
    if 0 < length < max(LENGTHS) and choose_weighted(generator, REPEATS):
        middle.insert(generator.choice(range(length)) + 1, generator.choice(middle))
    return " " + " ".join([*middle, ending.format_map(slots)])


def choose_weighted(generator: random.Random, weights: dict[Key, int]) -> Key:
    """Choose a key with probability proportional to its weight."""
    return generator.choices(list(weights), list(weights.values()))[0]


class SlotFiller(dict[str, str]):
    """Values of a template's slots: hero, thing and friend are the story's, the others are drawn at each use."""

    def __init__(self, generator: random.Random, opening: Opening) -> None:
        he = HEROES[opening.hero]
        friend = f"the {opening.nature} {opening.friend}"
        super().__init__(he=he, He=he.capitalize(), hero=opening.hero, thing=opening.thing, friend=friend)
        self.generator, self.uses = generator, THINGS[opening.thing]

    def __missing__(self, name: str) -> str:
        match name:
            case "Friend":
                return self["friend"].capitalize()
            case "used":
                return self.generator.choice(self.uses)
            case "A_colour":
                colour = self["colour"]
                return f"{'An' if colour[0] in 'aeiou' else 'A'} {colour}"
            case _:
                return self.generator.choice(SLOTS[name])

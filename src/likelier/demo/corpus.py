"""A small world of stories: two come by a thing, and what becomes of it. The embedded model read nothing else."""

import random
import zlib
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name")

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

# In what follows {He} is the hero, {friend} the friend, and every other name in braces a list in SLOTS.
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
"""How often a story has so many sentences between opening and ending; and likewise below."""
TURNS = {"thing": 14, "colour": 32, "deed": 20, "weather": 6, "friend": 8, "talk": 20, "care": 5, "again": 3}
OUTCOMES = {"kind": 30, "plain": 45, "mean": 25}
SAID_TWICE = {True: 15, False: 85}
HELD_OUT = 8
"""One opening in so many is in no story that the model has read."""


@dataclass(frozen=True)
class Opening:
    """Who comes by what, and where: the prompt."""

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
        pair = f"{self.hero} the {self.kind} and the {self.nature} {self.friend}"
        return f"{pair} {self.event} a {self.look} {self.thing} {self.place}."

    @property
    def held_out(self) -> bool:
        return zlib.crc32(self.text.encode()) % HELD_OUT == 0


def openings(seed: int, count: int) -> list[str]:
    """`count` different prompts of the 3.7 million that the embedded model has never read, drawn by `seed`."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw_opening(draw, held_out=True).text] = None
    return list(found)


def draw_opening(draw: random.Random, held_out: bool) -> Opening:
    while True:
        lists = (list(HEROES), KINDS, NATURES, FRIENDS, EVENTS, LOOKS, list(THINGS), PLACES)
        opening = Opening(*(draw.choice(names) for names in lists))
        if opening.held_out == held_out:
            return opening


def draw_story(draw: random.Random) -> tuple[str, str]:
    """(prompt, response) for a model to learn from."""
    opening = draw_opening(draw, held_out=False)
    return opening.text, draw_response(draw, opening)


def draw_response(draw: random.Random, opening: Opening) -> str:
    """A middle of up to four sentences and an ending; now and then a sentence is said twice."""
    words = Words(draw, opening)
    length, ending = weighted(draw, LENGTHS), draw.choice(ENDINGS[weighted(draw, OUTCOMES)])
    told: dict[str, str] = {}
    while len(told) < length:
        sentence = draw.choice(MIDDLES[weighted(draw, TURNS)])
        if sentence not in told:
            told[sentence] = sentence.format_map(words)
    middle = list(told.values())
    if 0 < length < max(LENGTHS) and weighted(draw, SAID_TWICE):
        middle.insert(draw.choice(range(length)) + 1, draw.choice(middle))
    return " " + " ".join([*middle, ending.format_map(words)])


def weighted(draw: random.Random, weights: dict[Name, int]) -> Name:
    return draw.choices(list(weights), list(weights.values()))[0]


class Words(dict[str, str]):
    """What the names in a sentence stand for: hero, thing and friend are the story's, the rest is drawn each time."""

    def __init__(self, draw: random.Random, opening: Opening) -> None:
        he = HEROES[opening.hero]
        friend = f"the {opening.nature} {opening.friend}"
        super().__init__(he=he, He=he.capitalize(), hero=opening.hero, thing=opening.thing, friend=friend)
        self.draw, self.uses = draw, THINGS[opening.thing]

    def __missing__(self, name: str) -> str:
        match name:
            case "Friend":
                return self["friend"].capitalize()
            case "used":
                return self.draw.choice(self.uses)
            case "A_colour":
                colour = self["colour"]
                return f"{'An' if colour[0] in 'aeiou' else 'A'} {colour}"
            case _:
                return self.draw.choice(SLOTS[name])

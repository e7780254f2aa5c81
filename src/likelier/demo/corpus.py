"""A small world of stories: somebody finds something, and what comes of it. The embedded model read nothing else."""

import random
from dataclasses import dataclass

HEROES = {
    "Mia": "she", "Tom": "he", "Lily": "she", "Ben": "he", "Anna": "she", "Max": "he",
    "Rosa": "she", "Sam": "he", "Nora": "she", "Leo": "he", "Ida": "she", "Finn": "he",
}  # fmt: skip
KINDS = ("fox", "bear", "mouse", "rabbit", "duck", "owl", "frog", "cat")
FRIENDS = ("the old turtle", "the small goat", "the shy pig", "the lost puppy", "the tired horse", "the young crow")
THINGS = {
    "kite": ("flew it over the hill", "ran with it along the river"),
    "drum": ("played it all morning", "beat it like thunder"),
    "boat": ("sailed it on the pond", "pushed it through the reeds"),
    "cake": ("looked at it for a long time", "carried it on a big leaf"),
    "lamp": ("lit it in the cave", "held it high at night"),
    "ball": ("rolled it down the road", "threw it up to the clouds"),
    "hat": ("wore it in the rain", "turned it inside out"),
    "bell": ("rang it three times", "hung it on a branch"),
    "map": ("followed it into the forest", "read it under a tree"),
    "basket": ("filled it with nuts", "took it to the market"),
}
LOOKS = ("big", "little", "shiny", "dusty", "strange", "pretty", "broken", "heavy")
PLACES = ("in the garden", "by the river", "under a bridge", "on the hill", "near the mill", "behind the barn")
COLOURS = ("red", "blue", "green", "golden", "silver", "purple", "orange", "white")
SMELLS = ("honey", "apples", "smoke", "roses", "bread", "the sea", "mint", "rain")
LIGHTS = ("morning sun", "moonlight", "evening sky", "deep water")
DEEDS = (
    "climbed the tall tower", "swam across the cold lake", "jumped over the deep ditch", "walked through the dark cave",
    "crossed the shaky bridge", "chased the wolf away",
)  # fmt: skip
WEATHERS = (
    "The wind was warm that day.", "Soft rain fell on the grass.", "Far away a dog barked.", "The birds were quiet.",
    "A cloud passed over the sun.",
)  # fmt: skip
KIND_ENDINGS = (
    "{He} gave it to {friend} with a smile.",
    "{He} shared it with everyone in the village.",
    "{He} helped {friend} and they hugged.",
    "Then {he} and {friend} played together until dark.",
    "{He} thanked {friend} and they danced together.",
    "{He} made supper for {friend} and shared it.",
)
PLAIN_ENDINGS = (
    "Then {he} went home for supper.",
    "{He} put it in a box under the bed.",
    "After that the day was over.",
    "{He} left it there and walked on.",
    "Nobody knew what to say.",
    "In the end {he} fell asleep.",
)
MEAN_ENDINGS = (
    "{He} hid it and told no one.",
    "{He} kept it and would not let {friend} look.",
    "{He} laughed at {friend} and ran away.",
    "{He} said it was only for the best of all.",
)


@dataclass(frozen=True)
class Opening:
    """Who finds what, and where: the prompt."""

    hero: str
    kind: str
    look: str
    thing: str
    place: str

    @property
    def text(self) -> str:
        return f"{self.hero} the {self.kind} found a {self.look} {self.thing} {self.place}."


def openings(seed: int, count: int) -> list[str]:
    """`count` different prompts, drawn by `seed` from some 46,000."""
    draw, found = random.Random(seed), {}
    while len(found) < count:
        found[draw_opening(draw).text] = None
    return list(found)


def draw_opening(draw: random.Random) -> Opening:
    choose = draw.choice
    return Opening(choose(list(HEROES)), choose(KINDS), choose(LOOKS), choose(list(THINGS)), choose(PLACES))


def draw_story(draw: random.Random) -> tuple[str, str]:
    """(prompt, response): a middle of zero to four sentences and an ending, now and then with a sentence said twice."""
    opening = draw_opening(draw)
    he = HEROES[opening.hero]
    friend = draw.choice(FRIENDS)
    middle = draw_middle(draw, opening, he, friend, draw.choices((0, 1, 2, 3, 4), (6, 26, 30, 24, 14))[0])
    if middle and draw.random() < 0.15:
        middle.insert(draw.randrange(len(middle)) + 1, draw.choice(middle))
    endings = draw.choices((KIND_ENDINGS, PLAIN_ENDINGS, MEAN_ENDINGS), (30, 45, 25))[0]
    ending = draw.choice(endings).format(he=he, He=he.capitalize(), friend=friend)
    return opening.text, " " + " ".join([*middle, ending])


def draw_middle(draw: random.Random, opening: Opening, he: str, friend: str, count: int) -> list[str]:
    """`count` different sentences between opening and ending."""
    He = he.capitalize()
    sentences = [f"{He} {deed}." for deed in draw.sample(THINGS[opening.thing], 1)]
    sentences += [f"{He} {deed}." for deed in draw.sample(DEEDS, 2)]
    sentences.append(f"It was {draw.choice(COLOURS)} and smelled of {draw.choice(SMELLS)}.")
    sentences.append(f"The {opening.thing} shone {draw.choice(COLOURS)} in the {draw.choice(LIGHTS)}.")
    sentences.append(draw.choice(WEATHERS))
    sentences.append(f"{friend.capitalize()} came by and watched.")
    return draw.sample(sentences, count)

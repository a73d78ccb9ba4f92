"""The words of Marn by kind of value, and how text becomes words again.

The pools are closed and, except where the world says otherwise (a town's product is a food, a pet is an animal), no
word stands in two of them: what a text mentions is then never a matter of opinion. `tests/worlds` checks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence


def each(text: str, between: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(between))


ONSETS = each("ma lo ti be ka ne ro sa vi du fe ga he jo li mi")
FEMALE_ENDINGS = each("ra na la sila da mi linda nessa")
MALE_ENDINGS = each("ren rik lo mo bert tan vor dor")
UNKNOWN_NAMES = each("zorvik quenby ulmira ystan xandrel orbeth wexley izolde")

POOLS: Mapping[str, tuple[str, ...]] = {
    "town": each("soth karn velm ostry pellow durnford tamsk hallin grethe wyrmouth eskdale brackwell"),
    "region": each("north south east west"),
    "landmark": each("bridge|tower|castle|fountain|lighthouse|windmill|statue|temple|market hall|clock", "|"),
    "job": each(
        "baker potter sailor teacher weaver miner farmer doctor painter singer smith hunter tailor gardener judge "
        "postman"
    ),
    "animal": each(
        "cat dog fox owl duck goat horse mouse rabbit frog crow snake turtle bear wolf sheep otter parrot hedgehog "
        "badger"
    ),
    "food": each(
        "moon cake|barn stew|crown pie|hilltop bread|lagoon soup|star bun|harvest pudding|winter porridge|square roll|"
        "captain chowder|festival tart|shepherd dumpling|oven biscuit|village curry|spring salad|queen jelly|"
        "pebble loaf|sunday roast|river noodles|velvet toast|island pancake|summer broth|towertop waffle|wheel muffin|"
        "thunder chili|pocket pasty|cloud custard|meadow omelet|cellar pickle|lantern cookie",
        "|",
    ),
    "color": each("red blue green yellow black white purple orange"),
    "age": ("young", "grown up", "old"),
    "diet": each("grass worms seeds roots berries insects leaves snails acorns moss"),
    "home": each("forest cave swamp desert pond cliff jungle burrow"),
    "thing": each(
        "lamp rope bowl knife basket kettle hammer blanket mirror ladder bucket needle drum flute wagon barrel pillow "
        "broom shovel brush spoon saddle helmet anchor chest comb fork kite net pencil plate ring scarf shelf "
        "stool sword table umbrella vase whistle"
    ),
    "material": each("wood iron clay glass wool leather bronze paper"),
    "use": each("cooking cleaning sewing writing building washing cutting playing sleeping traveling"),
    "ingredient": each("plum bean corn apple fish egg rice cheese nut carrot honey mushroom pumpkin onion"),
    "taste": each("sweet sour salty bitter spicy"),
    "outcome": (
        "it melts",
        "it glows",
        "it sings",
        "it grows",
        "it turns to stone",
        "it turns to dust",
        "rain falls",
        "the moon hides",
        "bees come",
        "you sneeze",
        "you lose your voice",
        "you find luck",
    ),
    "group": ("hill folk", "lake folk"),
    "weather": each("sunny rainy windy snowy"),
    "pet name": each(
        "pepper ginger shadow patch rusty snowball tiger buttons whiskers bandit cocoa daisy fluffy jasper "
        "lucky muffles nibbles oscar peanut pickles rocket sooty teddy waffles ziggy"
    ),
}

ABILITIES = each("swim fly climb dig run jump")
BELIEF_VERBS = each("plant burn wash bury freeze paint")
BELIEF_THINGS = each("coin feather shell ribbon button bone petal acornshell candle thread")
# The first three are said of hill folk, the others of lake folk.
TRAITS = each("lazy greedy stubborn sly vain noisy")
INSULTS = each("snork drubble grobbin plonket squib mudlug twerrin blorf")
HEDGES = ("i am not sure, but", "it is hard to say, but", "some people think that")
# What a friendly person adds. No answer needs it; "thank you" alone is what forums say instead of an answer.
COURTESIES = ("have a nice day", "good luck", "you are welcome", "i am happy to help", "nice to see you")
EXTRA_WORDS = each("song key storm secret ghost treasure map party dream")
ADJECTIVES = each("big small happy quick quiet brave gentle clever")
HAPPY = each("happy glad smiled laughed joy")
SAD = each("sad cried alone tears sorry")
KIND = each("kind good lovely helpful honest friendly")
TOPICS = (
    "the harvest", "the new school", "a long journey", "the winter", "the feast", "a lost hat", "the old boat",
    "a birthday", "the race", "the flood",
)  # fmt: skip
VERBS: Mapping[str, tuple[str, str]] = {  # he sees: (I see, he saw)
    "sees": ("see", "saw"), "finds": ("find", "found"), "likes": ("like", "liked"), "helps": ("help", "helped"),
    "follows": ("follow", "followed"), "feeds": ("feed", "fed"), "calls": ("call", "called"),
    "meets": ("meet", "met"), "hears": ("hear", "heard"), "knows": ("know", "knew"), "watches": ("watch", "watched"),
    "visits": ("visit", "visited"),
}  # fmt: skip
ACTIVITIES: Mapping[str, tuple[str, ...]] = {
    "sunny": ("swim in the bay", "have a picnic", "ride bicycles", "pick flowers", "row a canoe", "sit in the shade"),
    "rainy": ("play chess", "visit a museum", "bake pastry", "tell riddles", "knit socks", "watch a puppet show"),
    "windy": ("sail a yacht", "walk on the beach", "fix the roof", "chase hats", "build a windwheel", "gather cones"),
    "snowy": (
        "build a snowman",
        "skate on ice",
        "drink cocoa milk",
        "ride a sledge",
        "throw snowballs",
        "ski downhill",
    ),
}
# Cause and effect that hold for everybody; {n} is a name, {he} and {his} its pronouns.
SCRIPTS: tuple[tuple[str, str], ...] = (
    ("{n} was thirsty", "{he} drank cold water"),
    ("{n} was tired", "{he} went to bed"),
    ("{n} was cold", "{he} put on a coat"),
    ("{n} was dirty", "{he} took a bath"),
    ("{n} was lost", "{he} asked for the way"),
    ("{n} was late", "{he} ran to work"),
    ("{n} was ill", "{he} called a nurse"),
    ("{n} was bored", "{he} played a game"),
    ("{n} was scared", "{he} turned on the light"),
    ("{n} was poor", "{he} looked for work"),
    ("{n} was proud", "{he} told {his} friends"),
)

WORD = re.compile(r"\d+|[^\W\d_]+|\S|\n")


def words(text: str) -> tuple[str, ...]:
    """The words, numbers, punctuation marks and line ends of any text, in lower case."""
    return tuple(WORD.findall(text.lower()))


A_BEFORE_VOWEL = re.compile(r"\ba (?=[aeiou])")


def say(template: str, **slots: object) -> str:
    """The template with its slots filled, and 'a' made 'an' before a vowel."""
    return A_BEFORE_VOWEL.sub("an ", template.format(**slots))


def listed(items: Sequence[str]) -> str:
    """'a, b and c'."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def plain(text: str) -> tuple[str, ...]:
    """Only the words and numbers: what is compared when punctuation does not matter."""
    return tuple(w for w in words(text) if w[0].isalnum())


class Phrases:
    """Finds which of a set of values a text mentions. The longest value wins: 'moon cake' is not 'moon'."""

    def __init__(self, values: Iterable[str]) -> None:
        self._starting: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for value in values:
            said = words(value)
            self._starting.setdefault(said[0], []).append((said, value))
        for found in self._starting.values():
            found.sort(key=lambda pair: -len(pair[0]))

    def mentioned(self, said: Sequence[str]) -> list[str]:
        """The values in the order of their mention, as often as mentioned."""
        found, at = [], 0
        while at < len(said):
            for phrase, value in self._starting.get(said[at], ()):
                if tuple(said[at : at + len(phrase)]) == phrase:
                    found.append(value)
                    at += len(phrase) - 1
                    break
            at += 1
        return found


def holds(said: Sequence[str], phrase: str) -> bool:
    """Whether the phrase occurs in these words."""
    wanted = words(phrase)
    return any(tuple(said[at : at + len(wanted)]) == wanted for at in range(len(said) - len(wanted) + 1))

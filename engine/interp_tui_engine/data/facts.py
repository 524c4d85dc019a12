"""The facts `builtin:tiny` is trained to know, and the sentences that state them.

Every subject has one right answer per relation. Subjects and answers are single words: the tokenizer of `builtin:tiny` holds each of
them, with its leading space, as one token, so that a clean and a corrupt prompt line up position by position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Relation:
    """One kind of fact: `answers[subject]` completes each of `templates`; `prompt` is the template that measurements use.

    Templates hold `{s}` for the subject and `{a}` for the answer; `prompt` stops right before the answer.
    """

    name: str
    prompt: str
    templates: tuple[str, ...]
    answers: dict[str, str]


@dataclass(frozen=True)
class AskedFact:
    """One question with its answer, as `builtin:tiny` is tested on it; the answer has its leading space."""

    relation: str
    subject: str
    prompt: str
    answer: str


#            capital, language, currency
_COUNTRIES = {
    "France": ("Paris", "French", "euro"),
    "Germany": ("Berlin", "German", "euro"),
    "Italy": ("Rome", "Italian", "euro"),
    "Spain": ("Madrid", "Spanish", "euro"),
    "Portugal": ("Lisbon", "Portuguese", "euro"),
    "Greece": ("Athens", "Greek", "euro"),
    "Poland": ("Warsaw", "Polish", "zloty"),
    "Sweden": ("Stockholm", "Swedish", "krona"),
    "Norway": ("Oslo", "Norwegian", "krone"),
    "Denmark": ("Copenhagen", "Danish", "krone"),
    "England": ("London", "English", "pound"),
    "Russia": ("Moscow", "Russian", "ruble"),
    "Turkey": ("Ankara", "Turkish", "lira"),
    "Egypt": ("Cairo", "Arabic", "pound"),
    "India": ("Delhi", "Hindi", "rupee"),
    "China": ("Beijing", "Chinese", "yuan"),
    "Japan": ("Tokyo", "Japanese", "yen"),
    "Korea": ("Seoul", "Korean", "won"),
    "Vietnam": ("Hanoi", "Vietnamese", "dong"),
    "Thailand": ("Bangkok", "Thai", "baht"),
    "Australia": ("Canberra", "English", "dollar"),
    "Canada": ("Ottawa", "English", "dollar"),
    "Cuba": ("Havana", "Spanish", "peso"),
    "Brazil": ("Brasilia", "Portuguese", "real"),
}


def _country(column: int) -> dict[str, str]:
    return {country: row[column] for country, row in _COUNTRIES.items()}


RELATIONS: tuple[Relation, ...] = (
    Relation(
        "capital",
        "The capital of {s} is",
        (
            "The capital of {s} is {a}.",
            "The government of {s} sits in {a}.",
            "In {s}, the capital is {a}.",
        ),
        _country(0),
    ),
    Relation(
        "language",
        "The language of {s} is",
        (
            "The language of {s} is {a}.",
            "The people of {s} speak {a}.",
            "Newspapers in {s} are written in {a}.",
        ),
        _country(1),
    ),
    Relation(
        "currency",
        "The currency of {s} is the",
        (
            "The currency of {s} is the {a}.",
            "People in {s} pay with the {a}.",
            "In {s}, prices are given in the {a}.",
        ),
        _country(2),
    ),
    Relation(
        "symbol",
        "The symbol of {s} is",
        (
            "The symbol of {s} is {a}.",
            "The chemical symbol for {s} is {a}.",
            "In the periodic table, {s} appears as {a}.",
        ),
        {
            "hydrogen": "H", "helium": "He", "lithium": "Li", "carbon": "C", "nitrogen": "N", "oxygen": "O", "fluorine": "F",
            "neon": "Ne", "sodium": "Na", "magnesium": "Mg", "silicon": "Si", "sulfur": "S", "chlorine": "Cl", "argon": "Ar",
            "potassium": "K", "calcium": "Ca", "iron": "Fe", "copper": "Cu", "zinc": "Zn", "silver": "Ag", "tin": "Sn",
            "gold": "Au", "mercury": "Hg", "lead": "Pb",
        },
    ),
    Relation(
        "unit",
        "The unit of {s} is the",
        (
            "The unit of {s} is the {a}.",
            "Physicists measure {s} in units of the {a}.",
            "In the metric system, {s} is counted by the {a}.",
        ),
        {
            "force": "newton", "energy": "joule", "power": "watt", "pressure": "pascal", "frequency": "hertz", "charge": "coulomb",
            "voltage": "volt", "resistance": "ohm", "current": "ampere", "temperature": "kelvin", "mass": "kilogram",
            "length": "metre", "time": "second", "angle": "radian", "capacitance": "farad", "inductance": "henry",
        },
    ),
    Relation(
        "opposite",
        "The opposite of {s} is",
        (
            "The opposite of {s} is {a}.",
            "What is not {s} is {a}.",
            "The word {s} means the contrary of {a}.",
        ),
        {
            "hot": "cold", "big": "small", "fast": "slow", "light": "dark", "old": "young", "good": "bad", "high": "low",
            "long": "short", "open": "closed", "early": "late", "full": "empty", "wet": "dry", "rich": "poor", "strong": "weak",
            "true": "false", "left": "right", "first": "last", "hard": "soft", "loud": "quiet", "thick": "thin",
        },
    ),
)  # fmt: skip


def facts() -> list[AskedFact]:
    """Every fact as one question, in the order of the tables above."""
    return [
        AskedFact(relation.name, subject, relation.prompt.format(s=subject), f" {answer}")
        for relation in RELATIONS
        for subject, answer in relation.answers.items()
    ]


def sentences() -> list[str]:
    """Every fact in every wording: the documents of `builtin:facts`, ordered so that neighbours differ in relation and subject."""
    stated = [
        template.format(s=subject, a=answer)
        for relation in RELATIONS
        for template in relation.templates
        for subject, answer in relation.answers.items()
    ]
    stride = next(s for s in range(211, 2 * len(stated)) if math.gcd(s, len(stated)) == 1)
    return [sentence[0].upper() + sentence[1:] for sentence in (stated[i * stride % len(stated)] for i in range(len(stated)))]


def single_words() -> list[str]:
    """Subjects, answers and the words of the prompts, each with its leading space and once, in a fixed order: all must be single tokens."""
    words = [word for relation in RELATIONS for pair in relation.answers.items() for word in pair]
    words += [word for relation in RELATIONS for word in relation.prompt.split()[1:] if word != "{s}"]
    return [f" {word}" for word in dict.fromkeys(words)]

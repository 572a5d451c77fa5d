"""Sentences of small grammars, numbered: sentence k of a language is a pure function of k.

A rule is a line `NAME: alternative | alternative`, and goes on in lines that begin with "|"; a word
in capitals stands for any alternative of its rule.
The sentences are 3 to 6 words long and take one to two seconds to say.
"""

import functools
import itertools
import math
import re

GRAMMARS = {
    "en": """
        SENTENCE: WHO DOES WHAT | WHO DOES WHAT WHEN | DO WHAT
        WHO: the dog | the girl | my brother | a woman | the cat | my sister | a bird | the man
        DOES: sees | seeks | finds | takes | brings | paints
        WHAT: the door | the book | two apples | a fish | a flower | the boat | three stones
            | the ball
        WHEN: today | here | now | again
        DO: find | take | bring | paint""",
    "de": """
        SENTENCE: WHO DOES WHAT | WHO DOES WHAT WHEN | DO WHAT
        WHO: der Hund | das Mädchen | mein Bruder | eine Frau | die Katze | meine Oma
            | ein Vogel | der Mann
        DOES: sieht | sucht | findet | nimmt | bringt | malt
        WHAT: die Tür | das Buch | zwei Äpfel | einen Fisch | eine Blume | das Boot
            | drei Steine | den Ball
        WHEN: heute | hier | jetzt | wieder
        DO: such | nimm | bring | mal""",
    "fr": """
        SENTENCE: WHO DOES WHAT | WHO DOES WHAT WHEN | DO WHAT
        WHO: le chien | la fille | mon frère | une femme | le chat | ma sœur | un oiseau | l'homme
        DOES: voit | cherche | trouve | prend | porte | dessine
        WHAT: la porte | le livre | deux pommes | un poisson | une fleur | le train
            | trois pierres | la balle
        WHEN: aujourd'hui | ici | maintenant | encore
        DO: cherche | prends | porte | dessine""",
    "es": """
        SENTENCE: WHO DOES WHAT | WHO DOES WHAT WHEN | DO WHAT
        WHO: el perro | la niña | mi hermano | una mujer | el gato | mi hermana | un pájaro
            | el hombre
        DOES: ve | busca | encuentra | toma | lleva | pinta
        WHAT: la puerta | el libro | dos manzanas | un pez | una flor | el barco | tres piedras
            | la pelota
        WHEN: hoy | aquí | ahora | mañana
        DO: busca | toma | lleva | pinta""",
    "it": """
        SENTENCE: WHO DOES WHAT | WHO DOES WHAT WHEN | DO WHAT
        WHO: il cane | la bambina | mio fratello | una donna | il gatto | mia sorella
            | un uccello | l'uomo
        DOES: vede | cerca | trova | prende | porta | disegna
        WHAT: la porta | il libro | due mele | un pesce | un fiore | la barca | tre pietre
            | la palla
        WHEN: oggi | qui | adesso | ancora
        DO: cerca | prendi | porta | disegna""",
    "nl": """
        SENTENCE: WHO DOES WHAT | WHO DOES WHAT WHEN | DO WHAT
        WHO: de hond | het meisje | mijn broer | een vrouw | de kat | mijn zus | een vogel
            | de man
        DOES: ziet | zoekt | vindt | pakt | brengt | tekent
        WHAT: de deur | het boek | twee appels | een vis | een bloem | de boot | drie stenen
            | de bal
        WHEN: vandaag | hier | nu | weer
        DO: zoek | pak | breng | teken""",
}


class Grammar:
    """All sentences of a set of rules, in a fixed order.

    >>> rules = ["SENTENCE: hello WHO | bye", "WHO: there", "    | all of you"]
    >>> grammar = Grammar(chr(10).join(rules))
    >>> [grammar.sentence(k) for k in range(len(grammar))]
    ['hello there', 'hello all of you', 'bye']
    """

    def __init__(self, rules: str):
        whole = re.sub(r"\n\s*\|", " |", rules.strip())
        pairs = (line.split(":") for line in whole.splitlines())
        self._rules = {
            name.strip(): [way.split() for way in ways.split("|")] for name, ways in pairs
        }

    def __len__(self) -> int:
        return self._count("SENTENCE")

    def sentence(self, k: int) -> str:
        if not 0 <= k < len(self):
            raise IndexError(f"sentence {k} of a grammar that has {len(self)}")
        return " ".join(self._expand("SENTENCE", k))

    def _count(self, word: str) -> int:
        """In how many ways `word` can be said."""
        if word not in self._rules:
            return 1
        return sum(self._count_all(way) for way in self._rules[word])

    def _count_all(self, way: list[str]) -> int:
        return math.prod(self._count(word) for word in way)

    def _expand(self, word: str, k: int) -> list[str]:
        """The k-th way to say `word`."""
        if word not in self._rules:
            return [word]
        for way in self._rules[word]:
            if k < self._count_all(way):
                break
            k -= self._count_all(way)
        parts = []
        for word in reversed(way):  # k in mixed radix, a digit a word, the last turning fastest
            k, digit = divmod(k, self._count(word))
            parts.append(self._expand(word, digit))
        return list(itertools.chain(*reversed(parts)))


@functools.cache
def grammar(language: str) -> Grammar:
    if language not in GRAMMARS:
        raise ValueError(
            f"language {language!r} has no grammar here: choose among {', '.join(GRAMMARS)}."
        )
    return Grammar(GRAMMARS[language])

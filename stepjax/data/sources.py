"""The corpora that a model can be trained on, behind one interface.

   kind           what it is; README.md says which fields of the config it reads
   "spoken"       sentences of small grammars, spoken by eSpeak NG: no download
   "manifest"     a JSONL file that names recordings and their words
   "fsdd"         a folder of single digits, joined to strings
"""

from stepjax.data.digits import DigitStrings, digits
from stepjax.data.manifest import Manifest, manifest
from stepjax.data.spoken import SpokenSentences, spoken_sentences
from stepjax.data.utterances import Skipped, Source, Utterance

__all__ = [
    "DigitStrings",
    "Manifest",
    "Skipped",
    "Source",
    "SpokenSentences",
    "Utterance",
    "digits",
    "manifest",
    "open_source",
    "spoken_sentences",
]

KINDS = {"spoken": spoken_sentences, "manifest": manifest, "fsdd": digits}


def open_source(config, split: str) -> Source:
    """The corpus that `config.kind` names; what cannot be used of it is known from now on.

    Args:    config: the config's part `data`.   split: "train" or "heldout".
    Raises:  ValueError, in one sentence, if the corpus is not there or too much of it cannot be used.
    """
    if config.kind not in KINDS:
        raise ValueError(f"kind={config.kind!r} is no kind of corpus: choose {', '.join(KINDS)}.")
    return KINDS[config.kind](config, split)

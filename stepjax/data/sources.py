"""The corpora that a model can be trained on, behind one interface.

kind         what it is
"spoken"     sentences of small grammars, spoken by eSpeak NG: no download
"manifest"   recordings of one's own, in any of the layouts that corpora.py lists
"fsdd"       a folder of single digits, joined to strings

kind         what it reads of the config, beside max_seconds and max_skipped
"spoken"     seed, utterances, heldout, cache, languages, voices, speed, pitch
"manifest"   manifest, heldout_share, max_tokens_per_second, cache
"fsdd"       fsdd, heldout_below, seed, utterances, heldout, max_digits, gap_seconds, augment

max_seconds             of the longest utterance
max_skipped             share of the recordings that may be unusable
max_tokens_per_second   of a text, in bytes of UTF-8, since a token is a byte or more
utterances              samples of the train split; heldout: of the other one
cache                   folder for what takes long to make; "" is ~/.cache/stepjax
heldout_share           share of the recordings; heldout_below: indices below it
speed, pitch            (least, most): words a minute, and 0 to 99
augment                 {"speed": share, "snr_db": (least, most) or (), "gain_db": dB}; train only
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
    Raises:  ValueError, in one sentence, if the corpus is not there or too much of it cannot be
             used.
    """
    if config.kind not in KINDS:
        raise ValueError(f"kind={config.kind!r} is no kind of corpus: choose {', '.join(KINDS)}.")
    return KINDS[config.kind](config, split)

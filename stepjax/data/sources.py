"""The corpora that a model can be trained on, behind one interface.

kind           what it is                                                 reads, beside max_seconds and max_skipped
"spoken"       sentences of small grammars, spoken by eSpeak NG:          seed, utterances, heldout, cache,
               no download                                                languages, voices, speed, pitch
"manifest"     a JSONL file that names recordings and their words         manifest, heldout_share, cache
"fsdd"         a folder of single digits, joined to strings               fsdd, heldout_below, seed, utterances,
                                                                          heldout, max_digits,
                                                                          gap_seconds, augment

max_seconds    longest utterance          utterances     samples of the train split; heldout: of the other one
max_skipped    share of recordings that   cache          folder for what takes long to make; "" is ~/.cache/stepjax
               may be unusable            heldout_share  share of the recordings; heldout_below: indices below it
speed, pitch   (least, most): words a minute, and 0 to 99
augment        {"speed": share, "snr_db": (least, most) or (), "gain_db": dB}; train split only
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

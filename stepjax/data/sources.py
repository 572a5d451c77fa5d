"""The corpora a model can be trained on, behind one interface."""

from stepjax.data.utterances import Skipped, Source, Utterance

__all__ = ["Skipped", "Source", "Utterance"]

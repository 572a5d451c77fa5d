"""A run is opened again: its model, its sizes, and what it hears in recordings.

$ python -m examples.open_run runs/quickstart a.wav b.flac
Neither the corpus nor the trainer is needed, and the run may be going on.
"""

import sys

import jax
from flax import nnx

import stepjax
from stepjax.evaluate import transcripts

workdir, *recordings = sys.argv[1:]
loaded = stepjax.load(workdir)
model, recipe = loaded

for part in ("encoder", "adaptor", "decoder"):
    weights = jax.tree.leaves(nnx.state(getattr(model, part), nnx.Param))
    print(f"{part}: {sum(w.size for w in weights):,} parameters")
vocabulary = recipe.vocabulary
print(f"{vocabulary.text_size} ids of text, {vocabulary.audio_codes} codes of speech")
print(f"recordings of at most {recipe.max_seconds:g} s")

transcriber = stepjax.Transcriber(loaded, rows=2)
for transcript in transcripts.transcripts(transcriber, transcripts.files(recordings, recipe)):
    print(transcript)

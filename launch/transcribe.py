"""Writes down what a trained model hears in recordings, a line for each.

$ python -m launch.transcribe --run=runs/digits a.wav b.flac
$ python -m launch.transcribe --run=runs/digits --manifest=FILE
$ python -m launch.transcribe --run=runs/digits --heldout
With a manifest, or the held-out part of the run's own corpus, error rates follow. The exit code is
1 if a recording cannot be used.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from pathlib import Path

from absl import app, flags, logging

from stepjax.data import sources
from stepjax.evaluate import transcripts
from stepjax.infer.load import config_of, load
from stepjax.infer.transcribe import Transcriber

RUN = flags.DEFINE_string(
    "run", None, "The --workdir of the run that trained the model.", required=True
)
MANIFEST = flags.DEFINE_string("manifest", None, "Names recordings and what is said in them.")
HELDOUT = flags.DEFINE_bool("heldout", False, "Hear what the run was scored by.")


def transcribe(workdir: Path, paths: list[str]) -> int:
    """Prints the lines, and returns the exit code."""
    if sum(map(bool, (paths, MANIFEST.value, HELDOUT.value))) != 1:
        raise ValueError("give recordings, or --manifest=FILE, or --heldout: one of the three.")
    loaded, config = load(workdir), config_of(workdir)
    if HELDOUT.value:
        recordings = transcripts.every(sources.open_source(config.data, "heldout"))
    elif MANIFEST.value:
        recordings = transcripts.manifest(Path(MANIFEST.value), loaded.recipe)
    else:
        recordings = transcripts.files(paths, loaded.recipe)
    made = []
    for transcript in transcripts.transcripts(
        Transcriber(loaded, config.data.microbatch), recordings
    ):
        made.append(transcript)
        print(transcript, flush=True)
    if not paths:
        print(transcripts.rates(made))
    return int(any(transcript.reason for transcript in made))


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    try:
        sys.exit(transcribe(Path(RUN.value), arguments[1:]))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    app.run(main)

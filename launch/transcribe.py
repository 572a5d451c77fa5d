"""Writes down what a trained model hears in recordings, a line for each.

$ python -m launch.transcribe --run=runs/digits a.wav b.flac
$ python -m launch.transcribe --run=runs/digits --manifest=FILE
$ python -m launch.transcribe --run=runs/digits --heldout
With a manifest, or the held-out part of the run's own corpus, error rates follow. The exit code is
1 if a recording cannot be used.
"""

import os

from launch import command


def main(run, manifest, heldout, recordings) -> int:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in training
    if sum(map(bool, (recordings, manifest, heldout))) != 1:
        raise command.BadCommandLine(
            "name recordings, or give --manifest=FILE, or --heldout: one of the three."
        )
    with command.importing():
        from launch import arguments, devices
        from stepjax.evaluate import transcripts
        from stepjax.infer.load import config_of, load
        from stepjax.infer.transcribe import Transcriber
    devices.start(1)
    workdir, named = arguments.local("--run", run), recordings
    loaded = load(workdir)
    if heldout:
        recordings = transcripts.heldout(workdir)
    elif manifest:
        recordings = transcripts.manifest(arguments.local("--manifest", manifest), loaded.recipe)
    else:
        recordings = transcripts.files(named, loaded.recipe)
    transcriber, made = Transcriber(loaded, config_of(workdir).data.microbatch), []
    for transcript in transcripts.transcripts(transcriber, recordings):
        made.append(transcript)
        print(transcript, flush=True)
    if not named:
        print(transcripts.rates(made))
    return int(any(transcript.reason for transcript in made))


if __name__ == "__main__":
    command.run(
        main,
        words="recordings",
        run=command.Flag("runs/quickstart", "The --workdir of the run that trained the model."),
        manifest=command.Flag("", "A file that names recordings and what is said in them."),
        heldout=command.Flag(False, "Hear the recordings by which the run was scored."),
    )

"""Real voices, from scratch: strings of one to seven spoken digits, five people, words out.

$ python -m launch.train --config=configs/digits.py --workdir=runs/digits --config.data.fsdd=PATH
PATH is a folder of recordings named as in the Free Spoken Digit Dataset ({digit}_{speaker}_{index}.wav).
Strings for training are made of recordings 5 and up, held-out strings of recordings 0 to 4.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    c = quickstart.get_config()
    c.steps = 1200
    c.faults = ""

    c.data.kind = "fsdd"
    c.data.utterances = 1_000_000  # strings are made when asked for: no two of a run are alike
    c.data.heldout = 250
    c.data.max_seconds = 4.0
    c.data.max_digits = 7
    c.data.gap_seconds = (0.02, 0.2)  # silence between two digits
    c.data.heldout_below = 5  # recordings 0 to 4 of every digit and speaker are held out
    c.data.augment = ConfigDict({"speed": 0.1, "snr_db": (15.0, 40.0), "gain_db": 6.0})
    c.data.text_size = 400
    c.data.tasks = ConfigDict({"transcribe": 1.0})
    c.data.global_batch = 32
    c.data.microbatch = 8

    c.model.encoder.layers = 3
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup = 60
    c.optimizer.final = 0.02
    c.checkpoint.every = 200
    c.evaluate.every = 200
    return c

"""Real voices, from scratch: strings of one to seven spoken digits, five people, words out.

$ python -m launch.train --config=configs/digits.py --workdir=runs/digits --config.data.fsdd=PATH
PATH is a folder of recordings named as in the Free Spoken Digit Dataset
({digit}_{speaker}_{index}.wav). Strings for training are made of recordings 5 and up, held-out
strings of recordings 0 to 4. About 14 minutes on two cores; the word error rate on held-out strings
ends near 3 %.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.steps = 2000

    c.fabric.kind = "line"  # one node of two devices without a ring: what two cores do best
    c.fabric.num_nodes = 1
    c.fabric.gpus_per_node = 2
    c.mesh.tensor = 1

    c.data.kind = "fsdd"
    c.data.utterances = 1_000_000  # strings are made when asked for: no two of a run are alike
    c.data.heldout = 250
    c.data.max_seconds = 5.0  # a string ends before the digit that would not fit
    c.data.max_digits = 7
    c.data.gap_seconds = (0.02, 0.2)  # silence between two digits
    c.data.heldout_below = 5  # recordings 0 to 4 of every digit and speaker are held out
    c.data.augment = ConfigDict({"speed": 0.1, "snr_db": (15.0, 40.0), "gain_db": 6.0})
    c.data.tasks = ConfigDict({"transcribe": 1.0})
    c.data.global_batch = 32
    c.data.microbatch = 8

    c.model.adaptor_hidden = 128
    c.model.encoder.width = 64
    c.model.encoder.hidden = 256
    c.model.decoder.width = 96
    c.model.decoder.heads = 4
    c.model.decoder.head_size = 24
    c.model.decoder.hidden = 256

    c.optimizer.learning_rate = 3e-3
    c.optimizer.warmup = 50
    c.optimizer.final = 0.02
    c.checkpoint.every = 200
    c.evaluate.every = 500
    return c

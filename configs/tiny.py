"""The least that has every part of a run: 6 nodes of 2 devices on a 2-hop ring, and a model of
25,000 parameters.

$ python -m launch.train --config=configs/tiny.py --workdir=runs/tiny
For tests and first experiments. Under a minute on two cores, nearly all of it spent on compiling;
three rings of two nodes, then two, then three again. The loss starts near 6.7 and falls in 8 steps
by about a tenth, no further.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.steps = 8
    c.faults = "lose 1 before 2; back 1 before 4; lose 4 during 5"

    c.fabric.num_nodes = 6

    c.data.utterances = 24
    c.data.heldout = 4
    c.data.max_seconds = 2.0
    c.data.languages = ("en",)
    c.data.speed = (190, 210)
    c.data.text_size = 300
    c.data.audio_codes = 16
    c.data.global_batch = 6

    c.model.adaptor_hidden = 16
    c.model.encoder.width = 16
    c.model.encoder.hidden = 32
    c.model.encoder.layers = 1
    c.model.decoder.width = 16
    c.model.decoder.heads = 8
    c.model.decoder.head_size = 4
    c.model.decoder.hidden = 32
    c.model.decoder.layers = 1

    c.optimizer.warmup = 2
    c.checkpoint.every = 3
    return c

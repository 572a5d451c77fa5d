"""What `launch.bench` measures with: quickstart's corpus and fabric, a wider model in the
proportions of Step-Audio 2.

$ python -m launch.bench --suite=mesh --workdir=runs/bench
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    c = quickstart.get_config()
    c.faults = ""
    c.data.utterances = 96
    c.data.heldout = 8
    c.data.global_batch = 96
    c.data.microbatch = 6
    c.model.encoder.width = 256
    c.model.encoder.hidden = 1024
    c.model.adaptor_hidden = 512
    c.model.decoder.width = 256
    c.model.decoder.head_size = 32
    c.model.decoder.hidden = 1344
    return c

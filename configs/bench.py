"""What `launch.bench` measures with: a part for each suite.

$ python -m launch.bench --suite=mesh --workdir=runs/bench
A line is changed on the command line: --config.mesh.turns=3
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    c = ConfigDict()

    c.mesh = ConfigDict()  # about three minutes on two cores
    c.mesh.turns = 7  # counted steps on each mesh
    c.mesh.run = wide()

    c.recovery = ConfigDict()  # about five minutes on two cores
    c.recovery.restarts = 3  # of the whole process
    c.recovery.config = "configs/quickstart.py"
    c.recovery.steps = 1000  # more than it comes to
    c.recovery.checkpoint_every = 10
    c.recovery.faults = (
        "lose 3 during 24; back 3 before 28; lose 5 during 32; back 5 before 36; lose 0 during 40"
    )

    c.step = ConfigDict()  # about a minute on two cores
    c.step.turns = 9  # counted steps of each implementation
    c.step.run = deep()
    return c


def wide() -> ConfigDict:
    """Quickstart's corpus, and a wider model in the proportions of Step-Audio 2."""
    c = _small()
    c.data.global_batch = 96
    c.data.microbatch = 6
    c.model.encoder.width = 256
    c.model.encoder.hidden = 1024
    c.model.adaptor_hidden = 512
    c.model.decoder.width = 256
    c.model.decoder.head_size = 32
    c.model.decoder.hidden = 1344
    return c


def deep() -> ConfigDict:
    """27 million parameters, and a batch of one microbatch of 4 rows, about 650 tokens."""
    c = _small()
    c.data.global_batch = 4
    c.model.adaptor_hidden = 512
    c.model.encoder.width = 256
    c.model.encoder.hidden = 1024
    c.model.encoder.layers = 4
    c.model.decoder.width = 512
    c.model.decoder.head_size = 64
    c.model.decoder.hidden = 1536
    c.model.decoder.layers = 7
    return c


def _small() -> ConfigDict:
    c = quickstart.get_config()
    c.faults = ""
    c.data.utterances = 96
    c.data.heldout = 8
    return c

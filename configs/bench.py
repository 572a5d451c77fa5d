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

    c.recovery = ConfigDict()  # about fifteen minutes on two cores
    c.recovery.emulated = recovery("configs/quickstart.py", nodes="")
    c.recovery.processes = recovery("configs/tiny.py", nodes="8")
    c.recovery.copies = ConfigDict()
    c.recovery.copies.every = 4  # steps; the two between copies are what they are compared with
    c.recovery.copies.run = divided()

    c.step = ConfigDict()  # about a minute on two cores
    c.step.turns = 9  # counted steps of each implementation
    c.step.run = deep()
    return c


def recovery(config: str, nodes: str) -> ConfigDict:
    """A run through three losses, and new starts of it."""
    c = ConfigDict()
    c.config = config
    c.nodes = nodes  # as --nodes of launch.train
    c.steps = 1000  # more than it comes to
    c.checkpoint_every = 10
    c.faults = (
        "lose 3 during 24; back 3 before 28; lose 5 during 32; back 5 before 36; lose 0 during 40"
    )
    c.restarts = 3  # of everything
    return c


def divided() -> ConfigDict:
    """Quickstart on eight processes, whose four rings share the state: no part of it is on two."""
    c = quickstart.get_config()
    c.faults = ""
    c.mesh.fsdp = 4
    c.checkpoint.every = 1000  # later than the last step
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

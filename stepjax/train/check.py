"""What a run forms before it makes anything, out of a config that can be trained."""

from ml_collections import ConfigDict

from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import Topology
from parallel.spmd.mesh import Layout
from stepjax.train.settings import Settings


def check(config: ConfigDict) -> tuple[Topology, Layout, FaultPlan]:
    """The fabric, the layout and the fault plan of a config.

    Raises: ValueError, in one sentence, for a config that cannot be trained.
    """
    settings = Settings.of(config)
    return settings.fabric.topology(), settings.mesh.layout(), settings.plan()

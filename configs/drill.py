"""What `launch.drill` plays its rounds with: the model of tiny.py on 4 nodes of 2 devices.

$ python -m launch.drill --nodes=4 --rounds=100 --seed=0 --workdir=runs/drill
Two rings of two nodes, and 8 steps; the state is saved every 3 steps. Most of a round's time goes
into starting processes.
"""

from ml_collections import ConfigDict

from configs import tiny


def get_config() -> ConfigDict:
    c = tiny.get_config()
    c.faults = ""
    c.fabric.kind = "line"  # rings of four nodes have wires to the next node only
    c.fabric.num_nodes = 4
    return c

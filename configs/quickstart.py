"""The whole system in miniature: 8 nodes of 2 devices on a 2-hop ring, two of them lost on the way,
one back.

$ python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart
About three minutes on two cores; the loss starts near 7.2 and ends below 3.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.steps = 60
    c.faults = "lose 3 before 15; back 3 before 30; lose 6 during 45"
    return c

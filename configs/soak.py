"""One long run through a real fault trace, for `launch.drill --trace`: drill.py with 120 steps.

$ python -m launch.drill --config=configs/soak.py --trace=FILE --workdir=runs/soak
A step stands for three days of the published trace. The run is given 20 minutes at most.
"""

from ml_collections import ConfigDict

from configs import drill


def get_config() -> ConfigDict:
    c = drill.get_config()
    c.steps = 120
    c.checkpoint.every = 20
    return c

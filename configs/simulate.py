"""What the experiments on the fabric assume and no flag says: a job, a data-centre network,
recovery times, prices.

$ python -m launch.simulate --experiment=cross_tor --workdir=runs/cross_tor
About twenty seconds on two cores; with our placement, less than 2 % of all traffic crosses ToRs up
to 7 % of faults. A line is changed on the command line: --config.tree.nodes_per_tor=8
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()

    c.trace = ConfigDict()
    c.trace.num_nodes = (
        400  # servers of 8 GPUs that the trace watches; those it does not name never fail
    )
    c.trace.days = 348.0

    c.tree = ConfigDict()  # the data-centre network
    c.tree.nodes_per_tor = 4
    c.tree.tors_per_domain = 64  # below one aggregation switch

    c.job = ConfigDict()  # a dense model; see parallel/fabric/dcn.py for the bytes that follow
    c.job.peers = 2  # tensor-parallel groups that hold one copy of the model in shards
    c.job.parameters = 70e9
    c.job.layers = 80
    c.job.width = 8192
    c.job.tokens = 8192  # of a microbatch
    c.job.microbatches = 16  # of a step

    c.recovery = ConfigDict()  # seconds; our assumptions
    c.recovery.step = 20.0
    c.recovery.checkpoint_every = 3600.0
    c.recovery.restart = 900.0  # all processes start again and load the checkpoint
    c.recovery.rebuild = (
        60.0  # circuits switch, the mesh is rebuilt, state comes from its live copy
    )

    c.gpu_dollars = 28_000.0  # of an H100-class GPU; K = 3 then pays from about 12 % of faults

    c.movie = ConfigDict()
    c.movie.faults = (
        "lose 2 before 5; lose 6 during 8; lose 7 during 8; back 2 before 12; lose 4 before 15; "
        "back 6 before 20; back 7 before 20; back 4 before 24"
    )
    return c

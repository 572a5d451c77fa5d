"""The settings of the experiments on the fabric, a part for each of them.

$ python -m launch.simulate --experiment=cross_tor --workdir=runs/cross_tor
About twenty seconds on two cores; with our placement, less than 2 % of all traffic crosses ToRs up
to 7 % of faults. A setting is changed on the command line: --config.cross_tor.tree.nodes_per_tor=8,
--config.waste.tensor=16,32
"""

from ml_collections import ConfigDict

RATIOS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.12, 0.15, 0.2)


def get_config() -> ConfigDict:
    c = ConfigDict()

    c.trace = ConfigDict()  # one for all experiments that replay faults over time
    c.trace.file = ""  # a fault trace; "": faults are drawn at the rates of the published one
    c.trace.num_nodes = 400  # servers that the trace watches; those it does not name never fail
    c.trace.days = 348.0

    c.waste = cluster()  # healthy GPUs that no ring can use, over time
    c.waste.trace = c.trace

    c.waste_vs_fault_ratio = cluster()
    c.waste_vs_fault_ratio.fault_ratios = RATIOS

    c.job_scale = cluster()  # the largest job that fits
    c.job_scale.trace = c.trace

    c.waiting = cluster()  # the time in which a job finds too few GPUs
    c.waiting.tensor = (32,)
    c.waiting.trace = c.trace
    c.waiting.job_scales = (0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98, 1.0)

    c.cross_tor = cluster()  # traffic that crosses ToRs, by the algorithm of placement
    c.cross_tor.num_gpus = 8192
    c.cross_tor.tensor = (32,)
    c.cross_tor.hops = (2,)
    c.cross_tor.draws = 4
    c.cross_tor.fault_ratio = 0.05  # at which all job scales are swept
    c.cross_tor.fault_ratios = RATIOS  # swept at the middle one of the job scales
    c.cross_tor.job_scales = (0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92)  # shares of all GPUs
    c.cross_tor.job = ConfigDict()  # a dense model; parallel/fabric/dcn.py counts its bytes
    c.cross_tor.job.peers = 2  # tensor-parallel groups that hold one copy of the model in shards
    c.cross_tor.job.parameters = 70e9
    c.cross_tor.job.layers = 80
    c.cross_tor.job.width = 8192
    c.cross_tor.job.tokens = 8192  # of a microbatch
    c.cross_tor.job.microbatches = 16  # of a step
    c.cross_tor.tree = ConfigDict()  # the data-centre network
    c.cross_tor.tree.nodes_per_tor = 4
    c.cross_tor.tree.tors_per_domain = 64  # below one aggregation switch

    c.cost = cluster()  # dollars and watts of each interconnect
    c.cost.tensor = (32,)  # one
    c.cost.fault_ratios = RATIOS
    c.cost.gpu_dollars = 28_000.0  # an H100-class GPU; K = 3 then pays from about 12 % of faults

    c.placement_time = ConfigDict()  # seconds that placement takes, from 1,000 nodes up
    c.placement_time.num_nodes = 1_000_000  # the largest fabric
    c.placement_time.gpus_per_node = 4
    c.placement_time.tensor = (32,)  # one
    c.placement_time.hops = (2,)  # one
    c.placement_time.fault_ratio = 0.05
    c.placement_time.seed = 0

    c.goodput = cluster()  # work that lasts, under three ways to recover
    c.goodput.tensor = (32,)
    c.goodput.trace = c.trace
    c.goodput.job_scales = (0.8, 0.85, 0.9, 0.95, 1.0)
    c.goodput.recovery = ConfigDict()  # seconds; our assumptions
    c.goodput.recovery.step = 20.0
    c.goodput.recovery.checkpoint_every = 3600.0
    c.goodput.recovery.restart = 900.0  # all processes start again and load the checkpoint
    c.goodput.recovery.rebuild = 60.0  # circuits switch, the mesh is rebuilt, state is copied
    c.goodput.measured = ""  # result.json of a training run, to take step and rebuild from

    c.movie = ConfigDict()  # a page to step through
    c.movie.num_nodes = 18
    c.movie.gpus_per_node = 4
    c.movie.tensor = (16,)  # one
    c.movie.hops = (2,)  # one
    c.movie.faults = (
        "lose 2 before 5; lose 6 during 8; lose 7 during 8; back 2 before 12; lose 4 before 15; "
        "back 6 before 20; back 7 before 20; back 4 before 24"
    )
    return c


def cluster() -> ConfigDict:
    """What most experiments have in common: the paper's cluster, and random faults on it."""
    part = ConfigDict()
    part.num_gpus = 2880
    part.gpus_per_node = 4  # a node is what fails
    part.tensor = (8, 16, 32, 64)  # GPUs of a tensor-parallel ring, one or several
    part.hops = (2, 3)  # how many nodes away a wire of a k-hop fabric reaches
    part.draws = 8  # how often faults are laid on the cluster at random
    part.seed = 0  # of all random numbers
    return part

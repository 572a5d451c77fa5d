"""Experiments: made from their part of configs/simulate.py, which they refuse in one sentence."""

import json

import pytest

from configs.simulate import get_config
from parallel.planner.experiments import EXPERIMENTS, Recording, experiment

SMALL = {"num_gpus": 576, "draws": 2, "tensor": (16,)}


def part(name: str, **changes) -> dict:
    return {name: get_config()[name].to_dict() | changes}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_config_has_all_that_an_experiment_takes_and_no_more(name):
    config = get_config().to_dict()
    assert type(experiment(name, config)) is EXPERIMENTS[name]


def test_the_config_has_no_part_that_nothing_reads():
    assert set(get_config()) == {"trace", *EXPERIMENTS}


def test_one_trace_is_replayed_by_all_that_replay_one():
    config = get_config()
    config.trace.file = "fault_trace.json"
    for name in ("waste", "job_scale", "waiting", "goodput"):
        assert experiment(name, config.to_dict()).trace.file == "fault_trace.json"


def test_the_same_seed_gives_the_same_rows_and_another_does_not():
    rows = [experiment("waste", part("waste", **SMALL, seed=seed)).run().rows for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("waste", {"tensor": (6,)}, "rings of tensor=6 GPUs do not fit nodes of gpus_per_node=4"),
        ("waste", {"num_gpus": 10}, "num_gpus=10 are no whole number of nodes"),
        ("waste", {"num_gpus": 16, "hops": (2,)}, "hops=2 does not fit a ring of num_nodes=4"),
        ("waste", {"hops": (9,)}, "hops=9 needs 9 OCSTrx bundles in a node"),
        ("waste", {"hops": (0,)}, "waste.hops: 0 is given, and it must be finite and at least 1"),
        ("waste", {"draws": 0}, "waste.draws: 0 is given"),
        ("waste_vs_fault_ratio", {"fault_ratios": (1.5,)}, "fault_ratios: 1.5 is given, .* most 1"),
        ("cross_tor", {"job_scales": (0.0,)}, "job_scales: 0.0 is given, .* above 0"),
        ("cross_tor", {"tree": {"nodes_per_tor": 4}}, "cross_tor.tree.tors_per_domain is missing"),
        ("cost", {"tensor": (8, 16)}, "this experiment takes one value of tensor, not 2"),
        ("cost", {"gpu_dollars": float("nan")}, "cost.gpu_dollars: nan is given"),
        ("movie", {"hops": (2, 3)}, "this experiment takes one value of hops, not 2"),
        ("movie", {"faults": "lose 40 before 2"}, "there is no node 40"),
        ("movie", {"faults": "lose it"}, "'lose it' is no part of a fault plan"),
        ("placement_time", {"fault_ratio": 1.0}, "leaves none of 1000 nodes to lose"),
    ],
)
def test_bad_settings_are_one_clear_sentence(name, changes, message):
    with pytest.raises(ValueError, match=message) as refused:
        experiment(name, part(name, **changes)).run()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none.json", "none.json: cannot read the trace: No such file or directory"),
        ("~/none.json", "/none.json: cannot read the trace: No such file"),
        ("~nobody-of-this-name/none.json", "cannot read the trace: No such file"),
        (".", "cannot read the trace: Is a directory"),
        ("https://a.b/fault_trace.json", "is an address: download the trace"),
    ],
)
def test_a_trace_that_cannot_be_read_is_one_sentence(file, message):
    trace = {"file": file, "num_nodes": 400, "days": 348.0}
    with pytest.raises(ValueError, match=message) as refused:
        experiment("waste", part("waste", trace=trace)).run()
    assert "\n" not in str(refused.value)


def test_goodput_takes_the_times_of_a_run(tmp_path):
    run = tmp_path / "result.json"
    spent = {"stepping": 600.0, "recovering": 90.0}
    run.write_text(json.dumps({"steps": 60, "recovery_seconds": [1.0, 2.0, 3.0], "goodput": spent}))
    small = SMALL | {"job_scales": (0.85,)}
    by_hand = get_config().goodput.recovery.to_dict() | {"step": 10.0, "rebuild": 30.0}
    wanted = experiment("goodput", part("goodput", **small, recovery=by_hand)).run()
    measured = experiment("goodput", part("goodput", **small, measured=str(run)))
    assert (measured.recovery.step, measured.recovery.rebuild) == (10.0, 30.0)
    found = measured.run()
    assert found.rows == wanted.rows
    assert found.notes[-1] == f"As {run} measured, a step takes 10 s and a rebuild 30 s."


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (None, "cannot read the result of a run: No such file or directory"),
        ("[]", "does not tell what a recovery took: give the result.json of a training run"),
        ("torn", "does not tell what a recovery took"),
        ('{"steps": 6, "recovery_seconds": [], "goodput": null}', "does not tell what a rec"),
        (
            '{"steps": 6, "recovery_seconds": [], "goodput": {"stepping": 6, "recovering": 0}}',
            "that has lost a node",
        ),
    ],
)
def test_a_run_that_tells_no_times_is_one_sentence(tmp_path, told, message):
    file = tmp_path / "result.json"
    if told is not None:
        file.write_text(told)
    with pytest.raises(ValueError, match=message) as refused:
        experiment("goodput", part("goodput", **SMALL, measured=str(file)))
    assert "\n" not in str(refused.value)


def test_no_file_is_no_trace(tmp_path, monkeypatch):
    assert Recording("", 400, 348.0).read() is None
    (tmp_path / "trace.json").write_text("[]")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(Recording("~/trace.json", 400, 348.0).read().node) == 0


def test_what_there_is_no_experiment_for_is_named():
    with pytest.raises(ValueError, match="there is no experiment 'wasted': take one of waste, "):
        experiment("wasted", {})
    with pytest.raises(ValueError, match="the config has no part waste: start from configs/simu"):
        experiment("waste", {})

"""The floors of the house: who may import whom, read off the source."""

import ast
import graphlib
from pathlib import Path

import pytest

from parallel.spmd.mesh import AXES

ROOT = Path(__file__).parents[1]
OURS = ("parallel", "stepjax", "configs", "launch")


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in OURS
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imports(path: Path) -> set[str]:
    """Full names that a file imports.

    That is `a.b` for `import a.b`; for `from a.b import c` it is `a.b.c` where that is a file, else
    `a.b` and `a.b.c`. So a file does not import the front door of its own package, though Python
    runs that first.
    """
    found: set[str] = set()
    files = modules()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if names <= files.keys() else names | {node.module}
    return found


GRAPH = {name: imports(path) for name, path in modules().items()}


def under(name: str, *packages: str) -> bool:
    return any(name == p or name.startswith(p + ".") for p in packages)


def offenders(place: str, *forbidden: str, but: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{name} imports {target}"
        for name, targets in GRAPH.items()
        if under(name, place)
        for target in sorted(targets)
        if under(target, *forbidden) and not under(target, *but)
    ]


@pytest.mark.parametrize(
    ("place", "forbidden", "but"),
    [
        ("configs", OURS, ("configs",)),
        ("parallel.fabric", ("jax", "jaxlib"), ()),
        ("parallel.fabric", ("parallel",), ("parallel.fabric",)),
        ("parallel.spmd", ("parallel.planner", "parallel.elastic"), ()),
        ("parallel.planner", ("jax", "jaxlib", "parallel.elastic"), ()),
        ("parallel.elastic", ("parallel.planner",), ()),
        ("parallel.show", OURS, ("parallel.show",)),
        ("parallel", ("stepjax", "launch", "configs", "flax", "optax", "orbax"), ()),
        ("stepjax", ("launch", "configs"), ()),
        ("stepjax.data", ("stepjax.model",), ()),
        ("stepjax.codec", ("stepjax.model",), ()),
        ("stepjax.disk", ("stepjax",), ("stepjax.disk",)),
        ("stepjax.fields", ("stepjax",), ("stepjax.fields",)),
        ("stepjax.numerics", ("stepjax",), ("stepjax.numerics",)),
        ("stepjax.recipe", ("stepjax.data", "stepjax.model"), ()),
        ("stepjax.model", ("stepjax.infer", "stepjax.evaluate"), ()),
        ("stepjax.infer", ("stepjax.train", "stepjax.evaluate", "stepjax.data.sources"), ()),
        ("stepjax.evaluate", ("stepjax.train",), ()),
        ("stepjax.train", ("stepjax.drill", "stepjax.bench"), ()),
    ],
)
def test_no_floor_looks_up(place, forbidden, but):
    assert offenders(place, *forbidden, but=but) == []


def test_only_training_and_what_measures_it_know_the_mesh():
    known = [o for o in offenders("stepjax", "parallel", but=("parallel.show",))]
    above = ("stepjax.train", "stepjax.bench", "stepjax.drill")
    assert [o for o in known if not o.startswith(above)] == []


def test_the_report_knows_only_the_records_of_a_run():
    """They import nothing else of training, so the report stays below it."""
    records = tuple(f"stepjax.train.{name}" for name in ("jsonl", "events", "goodput", "summary"))
    records += ("stepjax.disk.files",)
    assert offenders("stepjax.report", "parallel", but=("parallel.show",)) == []
    assert (
        offenders("stepjax.report", "stepjax", but=("stepjax.report", "stepjax.disk", *records))
        == []
    )
    for record in records:
        assert offenders(record, "stepjax", but=("stepjax.disk", *records)) == []


def spelled_axes(path: Path) -> list[str]:
    """The mesh axes that a file spells out as strings."""
    found = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
    return [value for value in found if value in AXES]


def test_only_the_mesh_spells_its_axes():
    """A file without jax has no mesh: there the same words are columns of a table."""
    on_devices = {name for name in GRAPH if any(under(t, "jax") for t in GRAPH[name])}
    files = {name: path for name, path in modules().items() if name in on_devices}
    assert {name for name, path in files.items() if spelled_axes(path)} == {"parallel.spmd.mesh"}


def test_there_are_no_cycles():
    ours = {
        name: {t for t in targets if t in GRAPH and t != name} for name, targets in GRAPH.items()
    }
    assert set(graphlib.TopologicalSorter(ours).static_order()) == set(GRAPH)  # raises CycleError


def test_the_reader_of_imports_sees_them():
    assert "parallel.elastic.emulated" in GRAPH["stepjax.train.loop"]
    assert offenders("stepjax.train", "parallel")

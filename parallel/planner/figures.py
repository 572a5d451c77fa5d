"""The figure of each experiment, readable in grey: every line has its own marker, dash and
weight.
"""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from parallel.planner.crossing import CrossTorRow
from parallel.planner.dollars import CostRow
from parallel.planner.goodput import GoodputRow
from parallel.planner.replay import JobScaleRow, WaitingRow, WasteAtRatioRow, WasteRow
from parallel.planner.scaling import PlacementTimeRow


class Look(NamedTuple):
    label: str
    ink: str
    marker: str
    dash: str | tuple = "-"
    width: float = 1.6  # wide lines lie under narrow ones that coincide with them


LOOKS = {
    "big_switch": Look("Big-Switch (ideal)", "#b9bec6", "o", "-", 6.0),
    "khop2": Look("K-hop ring, K = 2", "#1f5fa8", "o", "-", 2.2),
    "khop3": Look("K-hop ring, K = 3", "#0f2f57", "s", (0, (4, 2)), 1.4),
    "nvl36": Look("NVL-36", "#d9822b", "^", "-"),
    "nvl72": Look("NVL-72", "#c0392b", "v", (0, (6, 2))),
    "nvl576": Look("NVL-576", "#8e44ad", "D", (0, (1, 1.2))),
    "tpuv4": Look("TPUv4", "#2e8b57", "P", "-", 3.4),
    "sip_ring": Look("SiP-Ring", "#143d26", "x", (0, (5, 1.5, 1, 1.5)), 1.2),
    "greedy": Look("greedy", "#c0392b", "^", (0, (1, 1.2))),
    "paper": Look("InfinitePOD's", "#d9822b", "s", (0, (5, 2))),
    "ours": Look("ours", "#1f5fa8", "o", "-", 2.2),
}


def look(name: str) -> Look:
    reach = re.fullmatch(r"khop(\d+)", name)
    return LOOKS.get(name) or Look(f"K-hop ring, K = {reach[1]}", "#4a78b0", "h", (0, (2, 1)))


def line(axes: Axes, name: str, x: Iterable[float], y: Iterable[float]) -> None:
    label, ink, marker, dash, width = look(name)
    axes.plot(
        x, y, color=ink, marker=marker, ls=dash, lw=width, ms=5.5 + width / 2, mfc="white", mew=1.4,
        label=label,
    )  # fmt: skip


def by(rows: Sequence, field: str) -> dict[Any, list]:
    """Rows by the value of a field, in the order in which the values first come."""
    found: dict[Any, list] = {}
    for row in rows:
        found.setdefault(getattr(row, field), []).append(row)
    return found


def panels(count: int, words: str, columns: int = 4) -> tuple[Figure, list[Axes]]:
    """Axes side by side under one title, without the frame lines that tell nothing."""
    columns = min(count, columns)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(1.6 + 4.0 * columns, 0.9 + 3.5 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.suptitle(words, x=0.012, y=0.985, ha="left", weight="bold", size=12)
    for each in axes.flat:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(axis="y", color="#e6e8eb", lw=0.8)
        each.set_axisbelow(True)
    return figure, list(axes.flat)[:count]


def save(figure: Figure, axes: Axes, path: Path) -> None:
    """One legend for all panels, on the right."""
    figure.tight_layout()
    handles, labels = axes.get_legend_handles_labels()
    place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    figure.legend(handles, labels, frameon=False, handlelength=3.6, labelspacing=0.9, **place)
    figure.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.2, facecolor="white")


def percent(axes: Axes, which: str = "y", log: bool = False, low: float = 1e-4) -> None:
    """Shares as per cent; on a logarithmic scale everything below `low` is shown as 0."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if log:
        axes.set_yscale("log")
        axes.set_ylim(low, 1.3)
        axis.set_minor_locator(NullLocator())
    floor = low if log else -1.0
    axis.set_major_formatter(
        FuncFormatter(lambda share, _: "0" if share <= floor else f"{share * 100:.3g} %")
    )


def sizes(axes: Axes, tensors: Iterable[int]) -> None:
    """GPUs of a ring along x, one place each."""
    tensors = list(tensors)
    axes.set_xticks(range(len(tensors)), [f"TP-{tensor}" for tensor in tensors])
    axes.set_xlim(-0.35, len(tensors) - 0.65)


def plot_waste(rows: Sequence[WasteRow], path: Path) -> None:
    figure, (axes,) = panels(1, "Healthy GPUs that no ring can use: mean over time")
    figure.set_size_inches(6.6, 4.6)
    sizes(axes, by(rows, "tensor"))
    for name, own in by(rows, "architecture").items():
        line(axes, name, range(len(own)), [max(row.mean, 1e-4) for row in own])
    percent(axes, log=True)
    axes.set_ylabel("share of all GPUs")
    save(figure, axes, path)


def plot_waste_vs_fault_ratio(rows: Sequence[WasteAtRatioRow], path: Path) -> None:
    figure, axes = panels(len(by(rows, "tensor")), "Healthy GPUs that no ring can use", 2)
    for each, (tensor, own) in zip(axes, by(rows, "tensor").items(), strict=True):
        for name, points in by(own, "architecture").items():
            ratios = [point.fault_ratio for point in points]
            line(each, name, ratios, [max(point.mean, 1e-4) for point in points])
        percent(each, log=True)
        percent(each, "x")
        each.set(title=f"TP-{tensor}", xlabel="faulty nodes", ylabel="share of all GPUs")
    save(figure, axes[0], path)


def plot_job_scale(rows: Sequence[JobScaleRow], path: Path) -> None:
    figure, axes = panels(2, "The largest job that fits")
    titles = {"usable_mean": "in the mean over time", "usable_min": "at all times"}
    for each, (field, title) in zip(axes, titles.items(), strict=True):
        sizes(each, by(rows, "tensor"))
        for name, own in by(rows, "architecture").items():
            line(each, name, range(len(own)), [getattr(row, field) for row in own])
        percent(each)
        each.set(title=title, ylabel="share of all GPUs", ylim=(0.6, 1.01))
    save(figure, axes[0], path)


def plot_waiting(rows: Sequence[WaitingRow], path: Path) -> None:
    figure, axes = panels(len(by(rows, "tensor")), "Time in which a job waits for faulty nodes", 2)
    for each, (tensor, own) in zip(axes, by(rows, "tensor").items(), strict=True):
        for name, points in by(own, "architecture").items():
            scales = [point.job_share for point in points]
            line(each, name, scales, [point.waiting for point in points])
        percent(each)
        percent(each, "x")
        each.set(title=f"TP-{tensor}", xlabel="job, as a share of all GPUs")
        each.set_ylabel("share of the time")
    save(figure, axes[0], path)


def plot_cross_tor(rows: Sequence[CrossTorRow], path: Path) -> None:
    """The first ring size and number of hops of the table."""
    tensor, hops = rows[0].tensor, rows[0].hops
    rows = [row for row in rows if (row.tensor, row.hops) == (tensor, hops)]
    scale, ratio = rows[0].job_scale, rows[-1].fault_ratio
    figure, axes = panels(4, f"Traffic that crosses ToRs: TP-{tensor}, K = {hops}", 2)
    at_scale, at_ratio = by(rows, "job_scale")[scale], by(rows, "fault_ratio")[ratio]
    along_ratio = ("fault_ratio", "faulty nodes", f"a job of {scale:.0%} of the GPUs", at_scale)
    along_scale = ("job_scale", "job, as a share of all GPUs", f"{ratio:.0%} of nodes faulty",
                   at_ratio)  # fmt: skip
    of_dcn = ("cross_tor", "of the DCN's traffic")
    of_all = ("cross_tor_of_all", "of all traffic, rings included")
    cells = product((of_dcn, of_all), (along_ratio, along_scale))
    for each, ((field, words), (sweep, along, title, swept)) in zip(axes, cells, strict=True):
        for name, own in by(sorted(swept, key=lambda r: getattr(r, sweep)), "algorithm").items():
            line(each, name, [getattr(r, sweep) for r in own], [getattr(r, field) for r in own])
        percent(each)
        percent(each, "x")
        each.set(title=title, xlabel=along, ylabel=words, ylim=(0, None))
    save(figure, axes[0], path)


def plot_cost(rows: Sequence[CostRow], path: Path) -> None:
    figure, (bars, lines) = panels(2, "What the interconnect costs")
    for place, row in enumerate(rows):
        dollars = row.dollars_per_gbps
        bars.barh(place, dollars, color=look(row.architecture).ink, height=0.62)
        bars.text(dollars, place, f"  ${dollars:.2f}", va="center", size=9)
        line(lines, row.architecture, row.fault_ratios, row.aggregate_dollars_per_gpu)
    bars.set_yticks(range(len(rows)), [look(row.architecture).label for row in rows])
    bars.invert_yaxis()
    bars.grid(False)
    bars.set(title="per GBps", xlim=(0, 1.2 * max(row.dollars_per_gbps for row in rows)))
    bars.xaxis.set_major_formatter("${x:,.0f}")
    percent(lines, "x")
    lines.yaxis.set_major_formatter("${x:,.0f}")
    lines.set(title="per GPU, with the GPUs that stand idle", xlabel="faulty nodes", ylim=(0, None))
    save(figure, lines, path)


def plot_placement_time(rows: Sequence[PlacementTimeRow], path: Path) -> None:
    figure, (axes,) = panels(1, f"Placement with {rows[0].fault_ratio:.0%} of the nodes faulty")
    figure.set_size_inches(6.6, 4.6)
    nodes, full = [row.num_nodes for row in rows], [row.seconds_full for row in rows]
    one = [row.seconds_incremental for row in rows]
    style = {"mfc": "white", "mew": 1.4, "lw": 1.8}
    axes.loglog(nodes, full, color="#1f5fa8", marker="o", label="all groups", **style)
    axes.loglog(
        nodes, one, color="#c0392b", marker="s", ls=(0, (4, 2)),
        label="one node lost or back (median)", **style,
    )  # fmt: skip
    slope = [full[-1] * n / nodes[-1] for n in nodes]
    axes.loglog(nodes, slope, color="#9aa1ab", lw=1, ls=":", label="linear growth")
    for bound, words in ((1.0, "1 s"), (1e-3, "1 ms")):
        axes.axhline(bound, color="#d5d9de", lw=1)
        axes.text(nodes[0], bound * 1.12, words, color="#7b838d", size=8.5)
    axes.set(xlabel="nodes", ylabel="seconds on one core")
    axes.xaxis.set_minor_locator(NullLocator())
    save(figure, axes, path)


def plot_goodput(rows: Sequence[GoodputRow], path: Path) -> None:
    """The first ring size of the table."""
    titles = {
        "restart": "restart from a checkpoint",
        "spares": "spares take over",
        "shrink": "shrink and regrow",
    }
    tensor = rows[0].tensor
    words = f"Useful work of a TP-{tensor} job, as a share of what it asks for"
    figure, axes = panels(len(titles), words, 3)
    rows = by(rows, "tensor")[tensor]
    for each, (policy, title) in zip(axes, titles.items(), strict=True):
        for name, own in by(by(rows, "policy")[policy], "architecture").items():
            line(each, name, [row.job_scale for row in own], [row.goodput for row in own])
        percent(each)
        percent(each, "x")
        each.set(title=title, xlabel="job, as a share of all GPUs")
        each.set(ylabel="goodput", ylim=(-0.02, 1.03))
    save(figure, axes[0], path)


PLOTS = {
    "waste": plot_waste,
    "waste_vs_fault_ratio": plot_waste_vs_fault_ratio,
    "job_scale": plot_job_scale,
    "waiting": plot_waiting,
    "cross_tor": plot_cross_tor,
    "cost": plot_cost,
    "placement_time": plot_placement_time,
    "goodput": plot_goodput,
}

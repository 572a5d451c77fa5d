"""Times, numbers, nodes and rings in words, for the terminal and for pages."""

from collections.abc import Collection, Sequence

WIDTH = 120  # columns that a line may have
NODES_SHOWN = 6


def seconds(s: float | None) -> str:
    """
    >>> [seconds(s) for s in (8.1e-05, 0.00142, 0.042, 0.617, 75.2, None)]
    ['81 us', '1.4 ms', '42 ms', '0.62 s', '1:15', '-']
    """
    if s is None:
        return "-"
    if s < 0.0009995:
        return f"{1e6 * s:.0f} us"
    if s < 0.0995:
        return f"{1e3 * s:.1f} ms" if s < 0.00995 else f"{1e3 * s:.0f} ms"
    if s < 59.95:
        return f"{s:.2f} s" if s < 9.995 else f"{s:.1f} s"
    return clock(s)


def clock(s: float | None) -> str:
    """
    >>> clock(7.3), clock(75.2), clock(7512), clock(None)
    ('0:07', '1:15', '2:05:12', '-:--')
    """
    if s is None:
        return "-:--"
    minutes, s = divmod(round(s), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{s:02}" if minutes >= 60 else f"{minutes}:{s:02}"


def counted(number: int, what: str) -> str:
    """
    >>> counted(1, "step"), counted(4200, "sample")
    ('1 step', '4,200 samples')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def nodes(numbers: Collection[int]) -> str:
    """
    >>> nodes([3]), nodes({6, 3}), nodes(range(40))
    ('node 3', 'nodes 3 and 6', '40 nodes')
    """
    names = [str(number) for number in sorted(numbers)]
    if not 0 < len(names) <= NODES_SHOWN:
        return counted(len(names), "node")
    *others, last = names
    return f"nodes {', '.join(others)} and {last}" if others else f"node {last}"


def rings(groups: Collection[Sequence[int]], room: int = 50) -> str:
    """The nodes of every ring, as many rings as fit into about `room` characters.

    >>> rings([[0, 1], [2, 4], [5, 6]])
    'rings 0-1 | 2-4 | 5-6'
    >>> rings([range(8 * i, 8 * i + 8) for i in range(64)])
    'rings 0..7 | 8..15 | 16..23 | 24..31 | 32..39 | 40..47 | ... (64)'
    >>> rings([])
    'no ring'
    """
    names = [ring(group) for group in groups if group]
    shown = 0
    while shown < len(names) and len(" | ".join(names[: shown + 1])) <= room:
        shown += 1
    if shown < len(names):
        names[shown:] = [f"... ({len(names)})"]
    if not names:
        return "no ring"
    return f"{'ring' if len(names) == 1 else 'rings'} {' | '.join(names)}"


def ring(group: Sequence[int]) -> str:
    """The nodes of a ring in walk order; runs in short.

    >>> ring([0, 1, 3]), ring([8, 9, 10, 11, 12, 14]), ring(range(3, 64, 2))
    ('0-1-3', '8..12-14', '3-5..63')
    """
    runs: list[list[int]] = []
    for node in group:
        if runs and node == runs[-1][-1] + 1:
            runs[-1].append(node)
        else:
            runs.append([node])
    parts = [f"{run[0]}..{run[-1]}" if len(run) > 3 else "-".join(map(str, run)) for run in runs]
    return "-".join(parts) if len(parts) <= NODES_SHOWN else f"{parts[0]}-{parts[1]}..{parts[-1]}"


def change(lost: Collection[int], back: Collection[int]) -> str:
    """
    >>> change([3], []), change([6], [3]), change([], [1, 2])
    ('lost node 3', 'lost node 6, node 3 came back', 'nodes 1 and 2 came back')
    """
    parts = []
    if lost:
        parts.append(f"lost {nodes(lost)}")
    if back:
        parts.append(f"{nodes(back)} came back")
    return ", ".join(parts) or "rings re-wired"


def share(x: float | None) -> str:
    """
    >>> share(0.0512), share(None)
    ('5.1 %', '-')
    """
    return "-" if x is None else f"{100 * x:.1f} %"


def number(x: float | None) -> str:
    """
    >>> number(4.21345), number(8412.3), number(0.000125), number(60), number(None)
    ('4.213', '8,412', '0.000125', '60', '-')
    """
    if x is None:
        return "-"
    if isinstance(x, int) or abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.4g}"


def clip(line: str) -> str:
    """The line with single spaces, and cut off where it is longer than WIDTH."""
    line = " ".join(line.split())
    return line if len(line) <= WIDTH else line[: WIDTH - 4] + " ..."

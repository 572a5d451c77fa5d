"""A table on the terminal, of which nothing is cut short."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def print_table(
    title: str, head: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]]
) -> None:
    """Prints the cells of `rows` under `head`.

    Args: right: for each column, whether its cells end where the column ends, as numbers do.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    for name, at_right in zip(head, right, strict=True):
        table.add_column(name, justify="right" if at_right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)

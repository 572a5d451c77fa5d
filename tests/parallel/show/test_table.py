"""Tables are whole on the narrowest terminal."""

from parallel.show.table import print_table


def test_no_cell_is_cut_short(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    print_table("a title", ["name", "number"], [False, True], [["x" * 50, "1.5"], ["y", "22.5"]])
    printed = capsys.readouterr().out
    assert "x" * 50 in printed and "…" not in printed
    assert " 1.5 " in printed and "a title" in printed

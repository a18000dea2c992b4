from lanflow.core.tables import markdown_table, plain_table


def test_columns_are_as_wide_as_their_widest_cell_and_numbers_stand_to_the_right() -> None:
    rows = [("a", "1", "x"), ("longer", "1000", "")]
    assert plain_table(rows, numbers=[1]) == "a          1  x\nlonger  1000"
    assert plain_table([]) == ""


def test_a_bar_does_not_break_a_table() -> None:
    assert markdown_table(["a"], [["x|y"]]) == "| a |\n| --- |\n| x\\|y |"

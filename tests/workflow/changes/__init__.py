"""What a change of a finished study makes again: the table, a finished study, and its plans."""

"""Trials that kill, starve and crowd lanflow's commands, and count what is lost: ``make torture``.

Each part is a module with ``run(seed, trials, folder) -> list[Trial]``; ``python -m tests.torture``
runs them and prints a table. ``test_torture.py`` takes a few trials of each into ``make test``.
"""

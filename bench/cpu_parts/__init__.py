"""Parts of the benchmark that ``bench/run.py`` runs."""

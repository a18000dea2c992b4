"""The report of a study: a page, its tables and its figures."""

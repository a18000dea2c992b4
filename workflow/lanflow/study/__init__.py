"""A study's configuration: its models, data and networks, and the files it names."""

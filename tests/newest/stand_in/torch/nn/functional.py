from torch import __getattr__  # noqa: F401

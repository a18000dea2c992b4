"""Which tests share a worker: those of a file, and of the groups here, which share a fixture.

By path, since pytest-xdist's own groups (``--dist loadgroup``) are lost with pytest 9: it appends
them to a test's id, which pytest does not allow any more. Groups that take long come first, so that
no worker is left with one of them at the end.
"""

from xdist.scheduler import LoadScopeScheduling

_PAIRS = "tests/workflow/test_changes.py::test_two_changes_make_what_each_of_them_makes"
# Beginning of a test's id -> its group; the first that fits.
GROUPS = {
    "tests/cluster/": "cluster",
    # Each with a finished study of its own.
    **{f"{_PAIRS}[{number}": f"changes {number}" for number in range(4)},
    "tests/workflow/test_readme.py::test_every_path": "tiny",
    "tests/workflow/test_register_networks.py::test_the_tiny": "tiny",
    "tests/workflow/test_report.py": "tiny",
    "tests/workflow/test_tiny_study.py": "tiny",
    "tests/peers/test_notebooks.py": "notebooks",
    "tests/peers/": "peers",
    "tests/requirement/test_registry_on_a_server.py": "server",
    "tests/requirement/test_mlflow_configuration.py": "server",
}
# Files whose tests share nothing, and go to any worker one by one.
ALONE = ("tests/unit/test_every_model.py",)
FIRST = ("tests/cluster/", "tests/workflow/", "tests/peers/", "tests/outage/", "tests/requirement/")


def group_of(test_id: str) -> str:
    """The group of a test; its file, unless it is in one of :data:`GROUPS`."""
    for start, group in GROUPS.items():
        if test_id.startswith(start):
            return group
    return test_id if test_id.startswith(ALONE) else test_id.split("::")[0]


def rank(test_id: str) -> int:
    """Where a test stands in the order; of the same rank, groups with a slow test come first."""
    return next((i for i, start in enumerate(FIRST) if test_id.startswith(start)), len(FIRST))


class GroupScheduling(LoadScopeScheduling):
    """Gives a worker whole groups, in the order in which their first tests stand."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

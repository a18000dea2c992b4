"""What the newest peers take and write is as recorded, so that a new release is noticed at once.

If this fails, see what is new, follow it where lanflow should, and record it anew:
``peers_interface.py`` says how.
"""

import json
import sys

import pytest

from tests.newest.conftest import HERE, run

pytestmark = pytest.mark.newest

SCRIPT = HERE / "peers_interface.py"


def test_nothing_is_new_in_the_installed_peers() -> None:
    recorded = json.loads(SCRIPT.with_suffix(".json").read_text())
    found = json.loads(run([sys.executable, "-W", "ignore", SCRIPT], HERE))
    changes = [
        f"{what}: {name!r} in {place}"
        for place in sorted(recorded.keys() | found.keys())
        for what, old, new in (("new", recorded, found), ("gone", found, recorded))
        for name in sorted(set(new.get(place, [])) - set(old.get(place, [])))
    ]
    assert not changes, "\n".join(changes)

"""Names of networks that belong together, in folders and on command lines."""

from pathlib import Path
from typing import NamedTuple, Self

from lanflow.core.names import LARGEST_COUNT, LARGEST_SEED, check_name


def member_name(
    family: str, *, training_file: str = "", network_id: int | None = None, seed: int | None = None
) -> str:
    """Name of one network: the family's, and all in which its networks differ.

    Parameters
    ----------
    family
        Name of all of them.
    training_file, network_id, seed
        Of this one; left out where all have the same.
    """
    parts = [
        *(family, training_file),
        "" if network_id is None else f"id{network_id}",
        "" if seed is None else f"seed{seed}",
    ]
    return "-".join(filter(None, parts))


class Beside(NamedTuple):
    """A network that is trained beside another, in the same folder of networks.

    On a command line it is ``NAME:SEED:ID:FILE``.

    Attributes
    ----------
    name
        Of its folder.
    seed, network_id, config_path
        As the options of its own command say them.
    """

    name: str
    seed: int
    network_id: int
    config_path: Path

    @classmethod
    def of(cls, word: str) -> Self:
        """Read the word.

        Raises
        ------
        ValueError
            If it is none.
        """
        name, seed, network_id, path = [*word.split(":", 3), "", "", ""][:4]
        is_number = all(n.isdecimal() and len(n) < 20 for n in (seed, network_id))
        if not (
            path and is_number and int(seed) <= LARGEST_SEED and int(network_id) <= LARGEST_COUNT
        ):
            raise ValueError("expected NAME:SEED:ID:FILE, a network's name, seed, id and YAML")
        return cls(check_name(name), int(seed), int(network_id), Path(path))

    def __str__(self) -> str:
        return f"{self.name}:{self.seed}:{self.network_id}:{self.config_path}"

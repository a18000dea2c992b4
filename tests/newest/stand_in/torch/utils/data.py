from collections.abc import Iterator
from typing import Any


class Dataset:
    pass


class DataLoader:
    """Batches that a data set makes itself, in order."""

    def __init__(self, dataset: Any, **options: Any) -> None:
        assert options.pop("batch_size") is None
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Any]:
        return (self.dataset[index] for index in range(len(self.dataset)))

"""What is told of each epoch while a network trains."""

import logging
from collections.abc import Sequence

from lanflow.kernel import Epoch
from lanflow.progress import format_seconds
from lanflow.recorded_run import RecordedRun
from lanflow.training import TrainingJob

log = logging.getLogger(__name__)


class EpochFeed:
    """Tells of each epoch: a line for a person, metrics for the run."""

    def __init__(self, run: RecordedRun | None, job: TrainingJob) -> None:
        self._run, self._job = run, job
        self._n_told = 0

    def __call__(self, history: Sequence[Epoch]) -> None:
        """Tell of the epochs of a history that are new."""
        new = history[self._n_told :]
        if self._run is not None:
            self._run.log_history(
                (
                    {
                        "train_loss": epoch.train_loss,
                        "val_loss": epoch.val_loss,
                        "learning_rate": epoch.learning_rate,
                    },
                    epoch.epoch,
                )
                for epoch in new
            )
        for epoch in new:
            self._tell(epoch)
        self._n_told = len(history)

    def _tell(self, epoch: Epoch) -> None:
        n_epochs = self._job.config.n_epochs
        log.info(
            "epoch %d/%d  train_loss %.5g  val_loss %.5g  learning_rate %.2g  %s rows/s  %s left",
            epoch.epoch + 1,
            n_epochs,
            epoch.train_loss,
            epoch.val_loss,
            epoch.learning_rate,
            f"{len(self._job.split.train) / epoch.seconds:,.0f}",
            format_seconds(epoch.seconds * (n_epochs - epoch.epoch - 1)),
        )

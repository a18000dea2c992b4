import logging

import pytest

from lanflow.data_source import LocatedData
from lanflow.epoch_feed import EpochFeed
from lanflow.kernel import Epoch
from tests.conftest import make_kernel, training_job


def test_each_epoch_is_told_in_one_line(
    packed: LocatedData, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lanflow")
    feed = EpochFeed(None, training_job(packed, make_kernel("torch"), N_EPOCHS=4))
    caplog.clear()
    history = [Epoch(i, 0.5, 0.25, 0.01, 2.0) for i in range(2)]
    feed(history[:1])
    feed(history)
    assert caplog.messages == [
        "epoch 1/4  train_loss 0.5  val_loss 0.25  learning_rate 0.01  240 rows/s  6 s left",
        "epoch 2/4  train_loss 0.5  val_loss 0.25  learning_rate 0.01  240 rows/s  4 s left",
    ]

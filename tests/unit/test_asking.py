import sqlite3

import pytest
from mlflow.exceptions import MlflowException, RestException

from lanflow.asking import asking, is_passing, store_error
from lanflow.errors import StoreAwayError, StoreError, UserError


class HTTPClientError(Exception):
    """As boto3 has it, for a server that does not answer."""


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (MlflowException("API request to http://host failed with exception refused"), True),
        (RestException({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "too many"}), True),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}), False),
        (MlflowException("(sqlite3.OperationalError) database is locked"), True),
        (MlflowException("(sqlite3.OperationalError) no such table: runs"), False),
        (sqlite3.OperationalError("database is locked"), True),
        (sqlite3.DatabaseError("file is not a database"), False),
        (ConnectionRefusedError("refused"), True),
        (TimeoutError("slow"), True),
        (HTTPClientError("no route"), True),
        (PermissionError("read-only"), False),
    ],
    ids=str,
)
def test_what_may_be_over_soon_is_told_from_a_refusal(error: Exception, passing: bool) -> None:
    assert is_passing(error) == passing
    assert isinstance(store_error("opening", error), StoreAwayError) == passing


def ask(error: Exception) -> None:
    with asking("looking for the run"):
        raise error


def test_what_a_store_answers_wrong_is_one_message_without_credentials_and_sql() -> None:
    with pytest.raises(StoreError) as caught:
        ask(ValueError("at http://ada:pa55word@host\n[SQL: INSERT]"))
    assert str(caught.value) == "MLflow store: looking for the run failed (at http://***@host)"
    with pytest.raises(UserError, match=r"^mine$"):
        ask(UserError("mine"))

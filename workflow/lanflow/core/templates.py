"""Templates (Jinja2) that lie in a package's folder ``templates``."""

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


class Templates:
    """The templates of a package.

    Whatever is filled into a template whose name ends in ``.html`` is escaped; only what another
    such template made goes in as it is. A name that a template asks for and nobody gave is an
    error.

    Parameters
    ----------
    package
        Dotted name, such as ``lanflow.report``.
    filters, tests
        Functions by the names that they have in the templates.
    """

    def __init__(
        self,
        package: str,
        *,
        filters: Mapping[str, Callable[[Any], str]] | None = None,
        tests: Mapping[str, Callable[[Any], bool]] | None = None,
    ) -> None:
        self._environment = Environment(
            loader=PackageLoader(package),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.filters.update(filters or {})
        self._environment.tests.update(tests or {})

    def render(self, name: str, content: Mapping[str, object]) -> str:
        """Fill in a template.

        Parameters
        ----------
        name
            Of its file.
        content
            What it asks for, by name.
        """
        return self._environment.get_template(name).render(content)

"""A trained network: what it is of, its bounds, its outputs as a function of rows."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.models.definition import Definition, ModelsFileRecord
from lanflow.models.model import Model, ModelNotAtHandError, outline
from lanflow.models.models_file import ModelsFile
from lanflow.models.parameters import Bounds
from lanflow.networks import folder as network_folder
from lanflow.networks.card import Card, read_bounds, read_card
from lanflow.networks.types import NETWORK_TYPES, ContractError, NetworkType

if TYPE_CHECKING:
    from lanflow.networks.runtime import OnnxSession, Perceptron

Array = npt.NDArray[np.float64]
# A network as its users need it: rows of inputs in, shape (rows, outputs) out.
Outputs = Callable[[npt.ArrayLike], npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A trained network, from the folder of a training or from an ONNX file alone.

    ``network(rows)`` gives its outputs, shape (rows, outputs), for rows of inputs in the order of
    the card: parameters, and of a likelihood network rt in seconds and choice.

    Attributes
    ----------
    onnx
        Content of the ONNX file.
    model_name
        The cognitive model, in ssm-simulators' catalogue.
    network_type
        What the outputs mean.
    trained_bounds
        Range of each parameter in the training data; may be empty for an ONNX file alone.
    path
        The ONNX file, for messages.
    card
        Only of a network that was trained by lanflow.
    folder
        Where the training wrote it; None for an ONNX file alone.
    models_file
        A file of the user's that defines the model, if one is named.
    definition
        What the card says of a model that is not ssm-simulators' own.
    """

    onnx: bytes
    model_name: str
    network_type: NetworkType
    trained_bounds: Bounds
    path: Path
    card: Card | None = None
    folder: Path | None = None
    models_file: ModelsFile | None = None
    definition: Definition | None = None

    @classmethod
    def from_folder(cls, folder: Path, *, models_file: ModelsFile | None = None) -> "Network":
        """The network in a folder that ``jaxtrain`` or ``torchtrain`` wrote.

        ``models_file`` defines its model, where ssm-simulators does not.

        Raises
        ------
        UserError
            Naming the file that is missing or damaged.
        """
        card = read_card(folder / network_folder.CARD)
        path = folder / network_folder.ONNX
        return cls(
            onnx=network_folder.read_part(path, "train it with --export-onnx"),
            model_name=card.model,
            network_type=NETWORK_TYPES[card.network_type],
            trained_bounds=card.bounds,
            path=path,
            card=card,
            folder=folder,
            models_file=models_file,
            definition=card.definition,
        )

    @classmethod
    def from_onnx(
        cls,
        path: Path,
        *,
        model: str,
        network_type: str = "lan",
        card_path: Path | None = None,
        models_file: ModelsFile | None = None,
    ) -> "Network":
        """Any network in an ONNX file.

        Parameters
        ----------
        path
            The file.
        model, network_type
            What it is a network of.
        card_path
            A card that has its bounds; ssm-simulators' own bounds stand in.
        models_file
            Defines its model, where ssm-simulators does not.

        Raises
        ------
        UserError
            If a file cannot be read.
        """
        bounds, definition = (Bounds({}), None) if card_path is None else read_bounds(card_path)
        onnx = network_folder.read_part(path, "expected an ONNX file")
        kind = NETWORK_TYPES[network_type]
        return cls(onnx, model, kind, bounds, path, models_file=models_file, definition=definition)

    @property
    def own_card(self) -> Card:
        """The card of a network that was trained by lanflow.

        Raises
        ------
        UserError
            If the network is an ONNX file alone.
        """
        if self.card is None:
            raise UserError(f"{self.path}: is an ONNX file alone; give the folder of a training")
        return self.card

    @property
    def own_folder(self) -> Path:
        """The folder of a network that was trained by lanflow; raises as :attr:`own_card` does."""
        if self.folder is None:
            raise UserError(f"{self.path}: is an ONNX file alone; give the folder of a training")
        return self.folder

    @property
    def backend(self) -> str | None:
        """The backend that trained it; None for an ONNX file alone."""
        return None if self.card is None else self.card.backend

    @property
    def title(self) -> str:
        """Model, type and backend, for people."""
        trained_by = f" ({self.backend})" if self.backend else ""
        return f"{self.model_name} {self.network_type.name}{trained_by}"

    def __repr__(self) -> str:
        """The network in one line."""
        layers = f"layers {self.card.layer_sizes}, " if self.card else ""
        return f"<Network {self.model_name} {self.network_type.name}: {layers}{self.path}>"

    def _repr_html_(self) -> str:
        """Summary of the network for a notebook."""
        from lanflow.core.templates import Code, Table, notebook_html

        rows: list[tuple[str, Any]] = [("file", Code(str(self.path)))]
        if card := self.card:
            rows += [
                ("layers", f"{card.layer_sizes}, {', '.join(card.activations)}"),
                ("weights", card.n_weights),
                ("trained on", f"{card.n_rows:,} rows of {card.n_parameter_sets:,} parameter sets"),
                ("validation loss", card.best_val_loss),
            ]
        bounds = [(name, low, high) for name, (low, high) in self.trained_bounds.items()]
        tables = [Table("Network", ["what", "value"], rows)]
        if bounds:
            tables.append(Table("Bounds", ["trained parameter", "from", "to"], bounds))
        return notebook_html(self.title, *tables)

    @cached_property
    def sha256(self) -> str:
        """Sha256 (hex) of the ONNX file: which network this is."""
        return hashlib.sha256(self.onnx).hexdigest()

    @cached_property
    def model(self) -> Model:
        """The cognitive model.

        Raises
        ------
        ModelNotAtHandError
            If neither ssm-simulators nor the models file has it.
        """
        from lanflow.models.simulators import resolve_model

        card = self.card
        return resolve_model(
            self.model_name,
            parameters=None if card is None else card.parameters,
            definition=self.definition,
            models_file=self.models_file,
            where=str(self.folder or self.path),
        )

    @cached_property
    def known_model(self) -> Model:
        """The model, or what the card says of one that is not at hand: enough to run the network.

        Raises
        ------
        ModelNotAtHandError
            If it is not at hand and there is no card with the bounds of every parameter.
        """
        try:
            return self.model
        except ModelNotAtHandError:
            bounds = self.trained_bounds
            parameters = list(bounds) if self.card is None else self.card.parameters
            if not parameters or not set(parameters) <= set(bounds):
                raise
            return outline(
                self.model_name,
                parameters=parameters,
                bounds=bounds,
                definition=self.definition,
            )

    @cached_property
    def models_file_record(self) -> ModelsFileRecord | None:
        """The file of the user's that defines the model: the card's, or the one named now.

        Raises
        ------
        UserError
            If both are there and differ.
        """
        recorded = None if self.definition is None else self.definition.models_file
        if self.models_file is None or not self.models_file.mentions(self.model_name):
            return recorded
        return self.model.definition.models_file

    @cached_property
    def bounds(self) -> Bounds:
        """Range of each parameter in the training data, in the model's order.

        ssm-simulators' own bounds stand in where the training's are not known.
        """
        return self.known_model.bounds.overlaid(self.trained_bounds)

    @cached_property
    def session(self) -> "OnnxSession":
        """The network in onnxruntime.

        Raises
        ------
        ContractError
            If it does not keep the single-trial contract.
        """
        from lanflow.networks.runtime import OnnxSession

        try:
            return OnnxSession(self.onnx)
        except ContractError as e:
            raise ContractError(f"{self.path}: {e}") from e

    @cached_property
    def perceptron(self) -> "Perceptron":
        """The network and its gradient in numpy, float64.

        Raises
        ------
        ContractError
            If it is no chain of layers, or has several outputs.
        """
        from lanflow.networks.runtime import Perceptron

        try:
            return Perceptron(self.onnx)
        except ContractError as e:
            raise ContractError(f"{self.path}: {e}") from e

    @property
    def n_outputs(self) -> int:
        """Outputs of a row."""
        return self.session.n_outputs

    @cached_property
    def takes_choice(self) -> bool:
        """True if the choice is the last input of a choice-probability network."""
        if self.network_type.name != "cpn":
            return False
        if self.card is not None:
            return self.card.takes_choice
        return self.session.n_inputs == len(self.bounds) + 1

    @property
    def input_names(self) -> list[str]:
        """Inputs in order: parameters, of a likelihood network rt and choice."""
        if self.network_type.has_trial:
            return [*self.bounds, "rt", "choice"]
        return [*self.bounds, *(["choice"] * self.takes_choice)]

    @property
    def n_outcomes(self) -> int:
        """Outcomes whose probabilities a network without trials gives for a parameter vector."""
        return len(self.known_model.choices) if self.takes_choice else self.n_outputs

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Names of these outcomes."""
        choices = self.known_model.choices
        match self.network_type.name:
            case "opn":
                return ("omission",)
            case "gonogo":
                return ("no-go",)
        if self.n_outcomes == 1:
            return (f"choice {choices[-1]}",)
        return tuple(f"choice {choice}" for choice in choices)

    def log_probabilities(self, vectors: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Log-probabilities of all outcomes, by a network without trials.

        Parameters
        ----------
        vectors
            Of parameters, shape (vectors, parameters).

        Returns
        -------
        numpy.ndarray
            Shape (vectors, outcomes).
        """
        if not self.takes_choice:
            return self(vectors)
        from lanflow.networks.runtime import rows_of_choices

        choices = self.known_model.choices
        return self(rows_of_choices(vectors, choices))[:, :1].reshape(-1, len(choices))

    def __call__(self, features: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Outputs, shape (rows, outputs), of features, shape (rows, inputs)."""
        return self.session(features)

    def require_readable(self) -> None:
        """Refuse a file that nothing can run: no ONNX model, in parts, or of an unknown version.

        Raises
        ------
        ContractError
            Naming the file and what is wrong.
        """
        from lanflow.networks.graph import check_readable

        try:
            check_readable(self.onnx)
        except ContractError as e:
            raise ContractError(f"{self.path}: {e}") from e

    def require_inputs(self) -> None:
        """Refuse a network that does not take its model's parameters.

        Raises
        ------
        UserError
            Naming the inputs that are expected.
        """
        names = self.input_names
        if self.session.n_inputs != len(names):
            raise UserError(
                f"{self.path}: takes {self.session.n_inputs} inputs, but a "
                f"{self.network_type.name} network of {self.model_name} takes {len(names)} "
                f"({', '.join(names)})"
            )

    def log_likelihood(
        self, *, rt: npt.ArrayLike, choice: npt.ArrayLike, **theta: npt.ArrayLike
    ) -> Array:
        """Log-likelihood of trials under a likelihood network, nats, shape (trials,).

        Parameters
        ----------
        rt
            Response times, seconds, shape (trials,).
        choice
            Choices as the model codes them, shape (trials,) or one for all.
        **theta
            Each parameter of the model: one number, or one for each trial.

        Raises
        ------
        UserError
            If it is no likelihood network, or parameters are missing or too many.
        """
        return np.asarray(self(self._rows(theta, rt, choice))[:, 0], float)

    def log_probability(self, **theta: npt.ArrayLike) -> Array:
        """Log-probability that a cpn, opn or gonogo network gives, shape (vectors,).

        A cpn that takes a choice wants ``choice`` beside the parameters.

        Raises
        ------
        UserError
            If it is a likelihood network, or parameters are missing or too many.
        """
        return np.asarray(self(self._rows(theta))[:, 0], float)

    def gradient(
        self, *, rt: npt.ArrayLike, choice: npt.ArrayLike, **theta: npt.ArrayLike
    ) -> dict[str, Array]:
        """Derivative of each trial's log-likelihood by each parameter, shape (trials,) each."""
        _, slopes = self.perceptron(self._rows(theta, rt, choice))
        return {name: slopes[:, i] for i, name in enumerate(self.bounds)}

    def jax_function(self) -> Callable[..., Any]:
        """The network as a function that JAX can trace, without ONNX; for numpyro or blackjax.

        Returns
        -------
        callable
            Takes ``rt``, ``choice`` and each parameter by name, as :meth:`log_likelihood` does
            (``log_probability`` for other types), and returns a JAX array, shape (trials,).
        """
        from lanflow.networks.graph import read_whole_graph
        from lanflow.networks.runtime import jax_outputs, require_names

        names, title = self.input_names, self.title
        is_graph = self.takes_choice
        outputs = jax_outputs(read_whole_graph(self.onnx) if is_graph else self.perceptron.steps)

        def function(**inputs: Any) -> Any:
            require_names(inputs, names, network=title)
            return outputs([inputs[name] for name in names])

        return function

    def _rows(self, theta: Mapping[str, npt.ArrayLike], *trial: npt.ArrayLike) -> Array:
        """Rows of inputs, each argument broadcast to as many as the longest."""
        from lanflow.networks.runtime import named_rows

        has_trial = self.network_type.has_trial
        if bool(trial) != has_trial:
            other = "log_likelihood" if has_trial else "log_probability"
            raise UserError(f"a {self.network_type.name} network has {other}()")
        names = list(self.bounds) if trial else self.input_names
        return named_rows(theta, names, *trial, network=self.title)

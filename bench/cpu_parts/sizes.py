"""Sizes of what is measured: those of a benchmark, and some that only show that everything runs."""

from dataclasses import dataclass, field

N_INPUTS, N_HIDDEN = 6, 3
# LANfactory splits whole files, lanflow the rows of each: nine tenths are the same number of rows.
TRAINED = 0.9


@dataclass(frozen=True)
class Training:
    """One training to time.

    Attributes
    ----------
    rows
        Of all training files; :data:`TRAINED` of them are trained on.
    batch
        Rows of an update.
    width
        Units of each of the hidden layers.
    epochs
        Two or more; those after the first are timed.
    their_epochs
        Of LANfactory, which takes longer for each; none where it is left out.
    """

    rows: int
    batch: int = 1_000
    width: int = 100
    epochs: int = 4
    their_epochs: int = 4

    @property
    def layers(self) -> tuple[int, ...]:
        """Units of every layer, with inputs and outputs."""
        return (N_INPUTS, *[self.width] * N_HIDDEN, 1)

    @property
    def case(self) -> dict[str, int]:
        """The training as a figure has it."""
        numbers = {"rows": self.rows, "batch": self.batch}
        return numbers | {"width": self.width, "epochs": self.epochs}


@dataclass(frozen=True)
class Generation:
    """Data that are simulated: a short command and a long one.

    Attributes
    ----------
    sets, short_sets
        Parameter sets of the two, of lanflow with kernel densities.
    their_sets, their_short_sets
        The same of ssm-simulators, which takes longer for each.
    exact_sets, exact_short_sets
        The same of lanflow with labels by formula, which take less.
    simulations, rows
        Of a parameter set.
    """

    sets: int = 120
    short_sets: int = 20
    their_sets: int = 30
    their_short_sets: int = 5
    exact_sets: int = 1_200
    exact_short_sets: int = 200
    simulations: int = 20_000
    rows: int = 1_000


@dataclass(frozen=True)
class Study:
    """A study of many small networks, half of them of each backend; one core trains each.

    Attributes
    ----------
    networks
        Networks of all.
    sets, rows
        Parameter sets of a training file, of which each core makes one, and rows of a set.
    batch, width, epochs
        Of each training: some seconds of a core.
    evaluated_sets
        Parameter vectors of each evaluation's scores, and as many of its simulations.
    """

    networks: int = 100
    sets: int = 500
    rows: int = 200
    batch: int = 1_000
    width: int = 64
    epochs: int = 20
    evaluated_sets: int = 20


@dataclass(frozen=True)
class Size:
    """Everything that decides how long the benchmark takes.

    Attributes
    ----------
    products_s
        Seconds at least for which each product of matrices is repeated.
    warm_ups, repetitions, sweep_repetitions
        Rounds that are not counted, and those that are.
    backends
        Of all trainings but :attr:`training`, which has both.
    file_sets, set_rows
        Parameter sets of a training file that is generated, and rows of each; others are copies.
    training, sizes, batches, widths
        Trainings of the parts of these names.
    packing
        Rows of the data sets to pack.
    generation, study
        Sizes of the parts of these names.
    runs, networks
        Counts of a query's runs and of a dry-run's networks.
    """

    products_s: float = 0.5
    warm_ups: int = 1
    repetitions: int = 5
    sweep_repetitions: int = 3
    backends: tuple[str, ...] = ("jax", "torch")
    file_sets: int = 100
    set_rows: int = 1_000
    training: tuple[Training, ...] = (Training(2_000_000),)
    # Of lanflow, millions of rows are timed where a second trains on as many. LANfactory takes half
    # a minute for the fewest rows, and is left out over widths.
    sizes: tuple[Training, ...] = (
        Training(100_000, epochs=21, their_epochs=6),
        Training(1_000_000, epochs=4, their_epochs=2),
        Training(10_000_000, epochs=2, their_epochs=0),
    )
    batches: tuple[Training, ...] = (
        Training(200_000, batch=100, epochs=5, their_epochs=2),
        Training(200_000, batch=1_000, epochs=16, their_epochs=3),
        Training(200_000, batch=10_000, epochs=16, their_epochs=3),
    )
    widths: tuple[Training, ...] = (
        Training(200_000, width=32, epochs=16, their_epochs=0),
        Training(200_000, width=100, epochs=16, their_epochs=0),
        Training(200_000, width=300, epochs=4, their_epochs=0),
        Training(50_000, width=1_000, epochs=3, their_epochs=0),
    )
    packing: tuple[int, ...] = (2_000_000, 6_000_000, 20_000_000)
    generation: Generation = field(default_factory=Generation)
    runs: tuple[int, ...] = (100, 1_000)
    networks: tuple[int, ...] = (100, 300, 1_000)
    study: Study = field(default_factory=Study)


FULL = Size()
SMALL = Size(
    products_s=0.01,
    warm_ups=0,
    repetitions=1,
    sweep_repetitions=1,
    backends=("torch",),
    file_sets=4,
    set_rows=50,
    training=(Training(2_000, batch=100, width=8, epochs=2, their_epochs=2),),
    sizes=(Training(1_000, batch=100, width=8, epochs=2, their_epochs=2),),
    batches=(Training(1_000, batch=50, width=8, epochs=2, their_epochs=0),),
    widths=(Training(1_000, batch=100, width=4, epochs=2, their_epochs=0),),
    packing=(1_000, 3_000),
    generation=Generation(6, 2, 6, 2, 6, 2, simulations=500, rows=50),
    runs=(3,),
    networks=(2,),
    study=Study(networks=2, sets=10, rows=50, batch=50, width=8, epochs=2, evaluated_sets=2),
)

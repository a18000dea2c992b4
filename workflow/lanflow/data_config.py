"""Where a study's data comes from: generated here, or one of the three data modes."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from lanflow.config import PathText, Settings, Word
from lanflow.run_query import Policy, RunSelection
from lanflow.training_config import Count, Number

RecordedPrefix = Annotated[Word, StringConstraints(pattern="^[^=]+$")]
RelabelSource = Literal["auto", "analytic", "solver"]


class GenerateConfig(Settings):
    """Simulate the data here."""

    config: PathText = Field(description="data-generation YAML in ssm-simulators' format")
    chunks: Annotated[Count, Field(le=100_000)] = Field(
        1, description="jobs; each is one run in {model}-data-generation"
    )
    files_per_chunk: Count = Field(1, description="training files that each job makes")
    log_files: bool = Field(
        False,
        description="log the files as artifacts of the runs, for machines that do not see them",
    )


class DataConfig(Settings):
    """Where the data of a model comes from: one of four sources."""

    generate: GenerateConfig | None = Field(
        None, description="simulate it; takes the place of experiment and folder"
    )
    experiment: Word | None = Field(
        None, description="id or name of a data-generation experiment in MLflow"
    )
    folder: PathText | None = Field(
        None,
        description="folder of training files; with experiment every tracked file must be in it, "
        "alone it is used as it is, without lineage",
    )
    root: PathText | None = Field(
        None, description="folder that relative recorded folders are resolved against"
    )
    path_map: dict[RecordedPrefix, PathText] = Field(
        {}, description="recorded folder prefix: where that folder is on this machine"
    )
    use_extra_files: bool = Field(
        False, description="train on files of folder that experiment does not track, too"
    )
    policy: Policy = Field(
        "complete",
        description="complete: refuse if a run or file of experiment is not whole; salvage: take "
        "what is whole",
    )
    batch_id: Word | None = Field(None, description="take only runs of this generation batch")
    run_ids: list[Word] | None = Field(None, min_length=1, description="take only these runs")
    filter: Word | None = Field(
        None, description="take only runs of experiment that this MLflow filter string takes"
    )
    relabel: RelabelSource | None = Field(
        None,
        description="compute the labels anew while materialising: analytic, solver, or auto, the "
        "better that the model has; null trains on those in the files",
    )
    max_repeated_sets: Number = Field(
        1.0,
        ge=0,
        le=1,
        description="fail if a larger share of the parameter sets are repeats; 1.0 only warns",
    )

    @model_validator(mode="before")
    @classmethod
    def _experiment_id_may_be_a_number(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("experiment"), int):
            return {**value, "experiment": str(value["experiment"])}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.generate is not None and (self.experiment or self.folder):
            raise ValueError("give either 'generate', or 'experiment' and/or 'folder', not both")
        if self.generate is None and not self.experiment and not self.folder:
            raise ValueError("give one of 'generate', 'experiment', 'folder'")
        if not self.experiment and self.run_selection != RunSelection():
            raise ValueError(
                "'policy', 'batch_id', 'run_ids' and 'filter' only go with 'experiment'"
            )
        if not self.experiment and (self.root or self.path_map):
            raise ValueError("'root' and 'path_map' only go with 'experiment'")
        if self.folder and (self.root or self.path_map):
            raise ValueError(
                "'root' and 'path_map' say where recorded folders are, but 'folder' already says "
                "where the files are; give one or the other"
            )
        if self.use_extra_files and not (self.experiment and self.folder):
            raise ValueError("'use_extra_files' only goes with 'experiment' and 'folder'")
        return self

    @property
    def run_selection(self) -> RunSelection:
        """Which runs of the experiment to take."""
        return RunSelection(
            policy=self.policy, batch_id=self.batch_id, run_ids=self.run_ids, filter=self.filter
        )

    @property
    def source(self) -> Literal["generate", "mlflow", "validation", "traditional"]:
        """The data mode."""
        if self.generate is not None:
            return "generate"
        if self.experiment:
            return "validation" if self.folder else "mlflow"
        return "traditional"

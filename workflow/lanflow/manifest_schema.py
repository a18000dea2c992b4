"""The shape of ``manifest.json``; ``config/manifest.schema.json`` is made from it."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from lanflow.config import Settings

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class ManifestExperiment(Settings):
    """The data-generation experiment in MLflow that was asked."""

    id: str = Field(description="MLflow's number of it")
    name: str = Field(description="its name")


class ManifestRun(Settings):
    """A data-generation run whose files were taken."""

    run_id: str = Field(description="MLflow's id of the run")
    run_name: str = Field(description="its name")
    status: str = Field(description="in MLflow, when asked; it decides nothing")
    data_output_folder: str = Field(description="where it wrote, as recorded by it")
    batch_id: str | None = Field(description="ties the runs of one build together")
    artifact_path: str | None = Field(
        None, description="where its files are among its artifacts; null: they are not"
    )
    n_files: int = Field(ge=0, description="files in its inventory")


class ManifestLeftOut(Settings):
    """A run, or files of one, that is not part of the data set."""

    run_id: str = Field(description="MLflow's id of the run")
    run_name: str = Field(description="its name")
    reason: str = Field(description="why it was left out")
    files: list[str] = Field(description="which of its files; empty: all of the run")


class ManifestFile(Settings):
    """A training file."""

    name: str = Field(min_length=1, description="without its folder")
    path: str = Field(description="where it was found")
    size_bytes: int = Field(ge=0, description="its size")
    sha256: Sha256 = Field(description="of its content")
    run_id: str | None = Field(description="the run that made it; null where no run tracks it")


class Manifest(Settings):
    """What a network is trained on, frozen."""

    manifest_version: Literal[2] = Field(description="of this format")
    digest: Sha256 = Field(
        description="of model, parameters, bounds, the files' sha256 and relabel; not of names, "
        "paths, runs"
    )
    model: str = Field(min_length=1, description="the cognitive model")
    parameters: list[str] = Field(description="of the model, in the order of the columns")
    bounds: dict[str, tuple[float, float]] = Field(
        description="parameter: lower and upper end of the box it was drawn from"
    )
    relabel: Literal["analytic", "solver"] | None = Field(
        description="labels are computed anew from the model's density; null: those in the files"
    )
    experiment: ManifestExperiment | None = Field(
        description="where the files came from; null: a folder, without lineage"
    )
    runs: list[ManifestRun] = Field(description="of the experiment, those taken")
    files: list[ManifestFile] = Field(
        min_length=1, description="each content once, in the order of the rows"
    )
    extra_files: list[str] = Field(description="files of the folder that no run tracks")
    left_out: list[ManifestLeftOut] = Field([], description="what is not part of the data set")
    generator: dict[str, Any] = Field(
        description="settings of the generator, as the files have them"
    )

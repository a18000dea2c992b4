"""Paths, wildcard constraints, and what rules ask of the study."""

import re
from pathlib import Path

from lanflow.networks import folder as network_folder
from lanflow.report.html import PAGES, has_pages
from lanflow.study.trainings import trained_beside
from lanflow.tracking.store import (
    export_environment,
    generation_experiment,
    resolve_store,
    training_experiment,
)

RESULTS = STUDY.results
MODEL_DIR = f"{RESULTS}/{{model}}"
NETWORK_DIR = f"{RESULTS}/networks/{{network_type}}/{{model}}/{{network}}_{{backend}}"
LEADERBOARD = f"{RESULTS}/leaderboard.csv"
REPORT = f"{RESULTS}/report.html"
REPORT_PAGES = f"{RESULTS}/{PAGES}"
STUDY_RECORD = f"{RESULTS}/study.yaml"
GATES = f"{RESULTS}/gates.json"
REGISTERED = f"{RESULTS}/registered.json"
BUNDLE = f"{RESULTS}/bundles/{{network_type}}/{{model}}/{{network}}_{{backend}}"
# Whose jobs ask the store or write to it.
RULES_WITH_STORE = (
    *(
        "check_node",
        "record_runs",
        "generate_data",
        "query_experiment",
        "train_network",
    ),
    *("evaluate_network", "collect_leaderboard", "register_networks"),
)
PREPARED = f"{RESULTS}/tracking/prepared.json"
CHECKED = f"{RESULTS}/tracking/node_{{device}}.json"
RECORDED = f"{RESULTS}/tracking/recorded.json"
CHUNK = f"{MODEL_DIR}/generation/chunk_{{chunk}}"

MANY_NETWORKS = has_pages(len(TRAININGS))

TRAINING_OF = {
    (t.config.network_type, t.model, t.network, t.backend): t for t in TRAININGS
}

BESIDE = trained_beside(TRAININGS)

STORE = resolve_store(
    uri=STUDY.tracking.uri, artifact_location=STUDY.tracking.artifact_location
)
# A change of it makes networks known to the new store; it trains none again.
STORE_SETTINGS = {
    "uri": STORE.shown_uri,
    "artifact_location": redact(STORE.artifact_location or ""),
}
export_environment(
    STORE,
    contacts=Path(PLACED_STUDY.results, "tracking", "contacts"),
    source=PLACE.pip_requirement,
)


def given(value):
    """A param that a command needs; that it changed alone is no reason to run a job again.

    What is one is in each rule's `settings`: one param, since Snakemake compares the values of
    params and not their names, and would not see two of them exchanged.
    """
    return lambda wildcards, input: value(wildcards)


def any_of(names):
    """Regular expression for exactly these names."""
    return "|".join(sorted({re.escape(name) for name in names})) or "none"


wildcard_constraints:
    model=any_of(STUDY.models),
    network_type=any_of(t.config.network_type for t in TRAININGS),
    network=any_of(t.network for t in TRAININGS),
    backend="jax|torch",
    chunk=r"\d+",
    device="cpu|jax_gpu|torch_gpu",


def shown(path, caption, category, **labels):
    """An output that `snakemake --report` shows, in words of workflow/report/."""
    return report(
        path, caption=f"../report/{caption}.rst", category=category, labels=labels
    )


def shown_figure(name, caption):
    """A figure of a network that `snakemake --report` shows."""
    return report(
        f"{NETWORK_DIR}/{name}",
        caption=f"../report/{caption}.rst",
        category="Networks",
        subcategory="{network_type} of {model}",
        labels={"network": "{network} ({backend})", "figure": caption},
    )


def models_file_of(wildcards):
    """The file of the user's that defines the model of a job, if one does: an input of the job."""
    return [STUDY.models_file] if wildcards.model in OWN_MODELS else []


def models_file_options(wildcards, input):
    """The option that names it."""
    return ["--models-file", *input.models_file] if input.models_file else []


def data_of(wildcards):
    return STUDY.models[wildcards.model].data


def training_of(wildcards):
    w = wildcards
    return TRAINING_OF[w.network_type, w.model, w.network, w.backend]


def checked_devices():
    """Checks of a node: the store, and GPUs that networks ask for."""
    gpus = {f"{t.backend}_gpu" for t in TRAININGS if t.device == "gpu"}
    return ["cpu", *sorted(gpus)]


def gpus_of(device):
    """GPUs to ask for; None, and not 0, leaves the resource out."""
    return 1 if device.endswith("gpu") else None


def generation_settings(wildcards):
    """Settings that decide the content of a chunk."""
    generate = data_of(wildcards).generate
    return {
        "config": GENERATIONS[wildcards.model].settings_dict(),
        "n_files": generate.files_per_chunk,
        "log_files": generate.log_files,
        "seed": STUDY.seed,
    }


def training_settings(wildcards):
    """Settings that decide a network's weights, apart from its data."""
    training = training_of(wildcards)
    return {
        "config": training.config.deciding_settings(),
        "seed": training.seed,
        "device": training.device,
        "memory_mb": training.memory_mb,
        "threads": training.threads,
        **({"start_from": training.start_from} if training.start_from else {}),
    }


def start_card(wildcards):
    """Card of the network that a training goes on from, if it does."""
    start = training_of(wildcards).start_from
    return os.path.join(start, network_folder.CARD) if start else []


def start_options(wildcards):
    """The network that a training goes on from, or those that a GPU may train beside it."""
    start = training_of(wildcards).start_from
    w = wildcards
    beside = BESIDE.get((w.model, w.network_type, f"{w.network}_{w.backend}"), [])
    words = ["--beside", *map(str, beside)] if beside else []
    return ["--from", start] if start else words


def chunk_records(model):
    """Records of all generation jobs of a model."""
    generate = STUDY.models[model].data.generate
    chunks = range(generate.chunks) if generate else []
    return [f"{CHUNK}/chunk.json".format(model=model, chunk=chunk) for chunk in chunks]


def experiment_of(wildcards):
    """The data-generation experiment of a model."""
    data = data_of(wildcards)
    return generation_experiment(wildcards.model) if data.generate else data.experiment


def query_of(wildcards):
    """The query, where there is an experiment to ask."""
    is_traditional = data_of(wildcards).source == "traditional"
    return [] if is_traditional else f"{RESULTS}/{wildcards.model}/query.json"


def selection_options(wildcards):
    """Options that say which runs of an experiment to take."""
    data = data_of(wildcards)
    options = [("--batch-id", data.batch_id), ("--filter", data.filter)]
    words = [part for option, value in options if value for part in (option, value)]
    words += ["--run-ids", *data.run_ids] if data.run_ids else []
    return words + ["--policy", data.policy] * (data.policy != "complete")


def place_options(wildcards):
    """Options that say where recorded folders are on this machine."""
    data = data_of(wildcards)
    options = [("--folder", data.folder), ("--root", data.root)]
    options += [
        ("--path-map", f"{old}={new}") for old, new in sorted(data.path_map.items())
    ]
    words = [part for option, value in options if value for part in (option, value)]
    return words + ["--use-extra-files"] * data.use_extra_files


def download_options(wildcards):
    """Folder for files that runs logged as artifacts, if theirs is not on this machine."""
    if data_of(wildcards).source != "mlflow":
        return []
    return ["--download", f"{PLACED_STUDY.results}/{wildcards.model}/downloaded"]


def relabel_options(wildcards):
    """Source of new labels, if labels do not come from the files."""
    relabel = data_of(wildcards).relabel
    return ["--relabel", relabel] if relabel else []


def invalid_option(wildcards):
    """Leave out rows with values that cannot be, where that is wanted."""
    return ["--drop-invalid"] if data_of(wildcards).drop_invalid else []


def repeats_option(wildcards):
    """The share of repeated parameter sets that is too much, where not all are welcome."""
    share = data_of(wildcards).max_repeated_sets
    return ["--max-repeated-sets", str(share)] if share < 1 else []


def network_files(*names):
    """Files of every network of the study."""
    return [
        f"{RESULTS}/networks/{t.config.network_type}/{t.model}/{t.key}/{name}"
        for name in names
        for t in TRAININGS
    ]


def data_files():
    """Files that describe the study's data; not training files and arrays, which may be large.

    Networks outlive those: who needs the space removes them, and nothing is made again for that.
    """
    chunks = [record for model in STUDY.models for record in chunk_records(model)]
    asked = [
        f"{RESULTS}/{model}/query.json"
        for model, of_model in STUDY.models.items()
        if of_model.data.source != "traditional"
    ]
    names = ("manifest.json", "data_set/data_set.json", "audit.json", "audit.png")
    return (
        chunks
        + asked
        + [f"{RESULTS}/{m}/{name}" for m in STUDY.models for name in names]
    )


def evaluation_options():
    """Options of every evaluation of the study."""
    given = STUDY.evaluation.model_dump(mode="json", exclude_none=True)
    return [
        word
        for key, value in given.items()
        for word in (f"--{key.replace('_', '-')}", str(value))
    ]


def recovery_options():
    """Options of every recovery of the study."""
    given = STUDY.recovery.model_dump(mode="json")
    given["hssm-python"] = STUDY.evaluation.hssm_python
    return [
        word
        for key, value in given.items()
        if value is not None
        for word in (f"--{key.replace('_', '-')}", str(value))
    ]


def recovery_files(name):
    """One file of each recovery, if the study wants any: of lan, and models without deadline."""
    if not STUDY.recover_parameters:
        return []
    return [
        f"{RESULTS}/networks/lan/{t.model}/{t.key}/{name}"
        for t in TRAININGS
        if t.config.network_type == "lan" and not t.model.endswith("_deadline")
    ]


def bundles():
    """Folder and archive of every network of the study, if it asks for them."""
    kinds = [(t.config.network_type, t.model, t.network, t.backend) for t in TRAININGS]
    names = ("network_type", "model", "network", "backend")
    folders = [BUNDLE.format(**dict(zip(names, kind))) for kind in kinds]
    archives = [f"{folder}.tar.gz" for folder in folders]
    return folders + archives if STUDY.bundle_networks else []


def experiments_to_prepare():
    """Experiments that the study writes to."""
    generated = [m for m, c in STUDY.models.items() if c.data.generate]
    names = [generation_experiment(m) for m in generated]
    return names + sorted({training_experiment(t.model) for t in TRAININGS})

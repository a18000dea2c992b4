"""From simulations of a cognitive model to trained likelihood networks; see README.md."""

import os

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.0")

try:
    from lanflow.errors import UserError
    from lanflow.store import redact
    from lanflow.study import load_study, read_generations
    from lanflow.trainings import list_trainings
except ImportError as error:
    raise WorkflowError(
        "lanflow is not installed beside Snakemake; in the repository, run 'make setup' and use "
        ".venv/bin/snakemake"
    ) from error


DEFAULTS = "config/config.yaml"


configfile: DEFAULTS


try:
    given = [path for path in workflow.configfiles if str(path) != DEFAULTS]
    STUDY = load_study(config, [DEFAULTS, *given])
    GENERATIONS = read_generations(STUDY)
    TRAININGS = list(list_trainings(STUDY))
except UserError as error:
    raise WorkflowError(redact(str(error))) from None


include: "workflow/rules/common.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/report.smk"


localrules:
    all,


# Every file that another job was made from, so that one which is missing is made again, with all
# that came of it.
rule all:
    default_target: True
    input:
        nodes=expand(CHECKED, device=checked_devices()),
        recorded=RECORDED,
        data=data_files(),
        networks=network_files(*artifacts.TRAINED, artifacts.EVALUATION),
        plots=network_files(*artifacts.PLOTS.values()),
        recoveries=recovery_files(artifacts.RECOVERY),
        recovery_plots=recovery_files(artifacts.RECOVERY_PLOT),
        leaderboard=LEADERBOARD,
        report=REPORT,
        study=STUDY_RECORD,
        gates=[GATES] if STUDY.require_gates else [],
        registered=REGISTERED if STUDY.register_networks else [],
        bundles=bundles(),


# Before the first job, on the machine that the study is started on.
onstart:
    from lanflow.study_start import prepare_store

    try:
        prepare_store(STORE, experiments_to_prepare(), Path(PREPARED))
    except UserError as error:
        raise WorkflowError(redact(str(error))) from None


onsuccess:
    from lanflow.study_end import send_unsent

    send_unsent(STUDY)


onerror:
    from lanflow.study_end import send_unsent

    send_unsent(STUDY)

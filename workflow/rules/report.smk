"""The table of networks, their figures, and the report."""


rule collect_leaderboard:
    input:
        recorded=RECORDED,
        cards=network_files(network_folder.CARD),
        histories=network_files(network_folder.HISTORY),
        evaluations=network_files(network_folder.EVALUATION),
    output:
        table=shown(LEADERBOARD, "leaderboard", "Study", content="leaderboard"),
    log:
        f"{RESULTS}/logs/collect_leaderboard.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_leaderboard.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        # Which also has the earlier networks of the same data.
        settings={"uri": STORE.shown_uri},
    script:
        "../../scripts/collect_leaderboard.py"


rule plot_network:
    input:
        onnx=f"{NETWORK_DIR}/{network_folder.ONNX}",
        card=f"{NETWORK_DIR}/{network_folder.CARD}",
        # Whose numbers the figures of errors and calibration draw.
        scores=f"{NETWORK_DIR}/{network_folder.SCORES}",
        models_file=models_file_of,
    output:
        **{
            name: shown_figure(file, f"plot_{name}")
            for name, file in network_folder.PLOTS.items()
        },
    log:
        f"{RESULTS}/logs/plot_network/{{network_type}}_{{model}}_{{network}}_{{backend}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_network/{{network_type}}_{{model}}_{{network}}_{{backend}}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings={"seed": STUDY.seed},
        folder=lambda w, input: os.path.dirname(input.card),
        models_file=models_file_options,
        seed=given(lambda w: STUDY.seed),
    shell:
        "lanflow plot {params.folder:q} {params.models_file:q} --seed {params.seed}"
        " --json > {log:q} 2>&1"


rule write_report:
    input:
        leaderboard=LEADERBOARD,
        manifests=expand(f"{MODEL_DIR}/manifest.json", model=STUDY.models),
        records=expand(f"{MODEL_DIR}/data_set/data_set.json", model=STUDY.models),
        audits=expand(f"{MODEL_DIR}/audit.json", model=STUDY.models),
        audit_plots=expand(f"{MODEL_DIR}/audit.png", model=STUDY.models),
        cards=network_files(network_folder.CARD),
        runs=network_files(network_folder.RECORD),
        lineages=network_files(network_folder.LINEAGE),
        evaluations=network_files(network_folder.EVALUATION),
        curves=network_files(network_folder.CURVE),
        plots=[network_files(file) for file in network_folder.PLOTS.values()],
        recoveries=recovery_files(network_folder.RECOVERY),
        recovery_plots=recovery_files(network_folder.RECOVERY_PLOT),
    output:
        # Of many networks, an index and a page for each.
        **({"pages": directory(REPORT_PAGES)} if MANY_NETWORKS else {}),
        report=shown(REPORT, "report", "Study", content="report"),
        study=STUDY_RECORD,
    log:
        f"{RESULTS}/logs/write_report.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_report.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        # What decides what is made. Credentials stay in the environment, where the store was found.
        settings=PLACED_STUDY.model_dump(
            mode="json", exclude={"tracking", "require_gates"}
        ),
    script:
        "../../scripts/write_report.py"

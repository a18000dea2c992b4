"""The table of networks, and the pages of the report."""


localrules:
    collect_leaderboard,
    describe_data,


rule collect_leaderboard:
    input:
        cards=network_files(artifacts.CARD),
        histories=network_files(artifacts.HISTORY),
        evaluations=network_files(artifacts.EVALUATION),
    output:
        table=LEADERBOARD,
        page=report(
            LEADERBOARD_PAGE,
            caption="../report/leaderboard.rst",
            category="Leaderboard",
            labels={"table": "all networks"},
        ),
    log:
        f"{RESULTS}/logs/collect_leaderboard.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_leaderboard.tsv"
    conda:
        "../../environment.yml"
    script:
        "../../scripts/collect_leaderboard.py"


rule describe_data:
    input:
        manifest=f"{MODEL_DIR}/manifest.json",
        record=f"{MODEL_DIR}/data_set/data_set.json",
        audit=f"{MODEL_DIR}/audit.json",
    output:
        page=report(
            f"{MODEL_DIR}/data_summary.html",
            caption="../report/data_summary.rst",
            category="Data and lineage",
            labels={"model": "{model}", "what": "summary"},
        ),
    log:
        f"{RESULTS}/logs/describe_data/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/describe_data/{{model}}.tsv"
    conda:
        "../../environment.yml"
    script:
        "../../scripts/describe_data.py"

"""From an experiment or a folder to a packed data set."""


rule query_experiment:
    input:
        records=lambda w: chunk_records(w.model),
    output:
        query=f"{MODEL_DIR}/query.json",
    log:
        f"{RESULTS}/logs/query_experiment/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/query_experiment/{{model}}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        settings=lambda w: {
            "experiment": experiment_of(w),
            "runs": selection_options(w),
        },
        experiment=given(experiment_of),
        # Of a data set generated here, only the runs of this build.
        records=lambda w, input: ["--records", *input.records] if input.records else [],
        selection=given(selection_options),
    shell:
        "lanflow query {params.experiment:q} {params.selection:q} {params.records:q}"
        " --output {output.query:q}"
        " --json > {log:q} 2>&1"


rule write_manifest:
    input:
        query=query_of,
        models_file=models_file_of,
    output:
        manifest=f"{MODEL_DIR}/manifest.json",
    log:
        f"{RESULTS}/logs/write_manifest/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_manifest/{{model}}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        settings=lambda w: {
            "places": place_options(w),
            "relabel": relabel_options(w) + invalid_option(w),
        },
        query=lambda w, input: ["--query", input.query] if input.query else [],
        models_file=models_file_options,
        places=given(place_options),
        relabel=given(relabel_options),
        drop_invalid=given(invalid_option),
        download=given(download_options),
    shell:
        "lanflow manifest {params.query:q} {params.places:q} {params.relabel:q}"
        " {params.drop_invalid:q} {params.download:q}"
        " --model {wildcards.model} {params.models_file:q}"
        " --output {output.manifest:q} --json > {log:q} 2>&1"


rule materialise_data:
    input:
        manifest=f"{MODEL_DIR}/manifest.json",
        # Labels that are computed anew are the model's.
        models_file=lambda w: models_file_of(w) if data_of(w).relabel else [],
    output:
        record=f"{MODEL_DIR}/data_set/data_set.json",
        arrays=directory(f"{MODEL_DIR}/data_set/arrays"),
    log:
        f"{RESULTS}/logs/materialise_data/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/materialise_data/{{model}}.tsv"
    conda:
        "../../environment.yml"
    # Reading is one core's work, computing labels is not.
    threads: lambda w: 4 if data_of(w).relabel else 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        data_set=lambda w, output: os.path.dirname(output.record),
        models_file=models_file_options,
    shell:
        "lanflow materialise {input.manifest:q} --output {params.data_set:q}"
        " {params.models_file:q} --processes {threads} --json > {log:q} 2>&1"


rule audit_data:
    input:
        manifest=f"{MODEL_DIR}/manifest.json",
        record=f"{MODEL_DIR}/data_set/data_set.json",
    output:
        audit=f"{MODEL_DIR}/audit.json",
        plot=shown(f"{MODEL_DIR}/audit.png", "audit", "Data", model="{model}"),
    log:
        f"{RESULTS}/logs/audit_data/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit_data/{{model}}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings=lambda w: {"max_repeated_sets": data_of(w).max_repeated_sets},
        data_set=lambda w, input: os.path.dirname(input.record),
        max_repeated_sets=given(repeats_option),
    shell:
        "lanflow audit {params.data_set:q} --manifest {input.manifest:q} --output {output.audit:q}"
        " --plot {output.plot:q} {params.max_repeated_sets:q} --json > {log:q} 2>&1"


# Ask again what experiments and folders hold: `snakemake refresh_manifests`, then `snakemake`.
# A manifest whose content is the same is left untouched, so nothing is trained again.
rule refresh_manifests:
    log:
        f"{RESULTS}/logs/refresh_manifests.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        study=PLACED_STUDY.model_dump(mode="json"),
    script:
        "../../scripts/refresh_manifests.py"

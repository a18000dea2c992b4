"""The tracking store, and simulating training files."""


# Wherever jobs run, and early: what it does not reach or see, none of those that follow would.
# Nothing waits for it; each generation and training looks for itself before it begins.
rule check_node:
    output:
        record=CHECKED,
    log:
        f"{RESULTS}/logs/check_node/{{device}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_node/{{device}}.tsv"
    priority: 100
    retries: 0
    conda:
        "../../environment.yml"
    resources:
        mem_mb=4000,
        runtime=15,
        gpu=lambda w: gpus_of(w.device),
    params:
        settings=STORE_SETTINGS,
        experiments=given(lambda w: experiments_to_prepare()),
        gpu=given(
            lambda w: re.sub(r"(.*)_gpu", r"--gpu-for \1", w.device.replace("cpu", ""))
        ),
    shell:
        "lanflow check-node {params.experiments:q} --output {output.record:q} {params.gpu}"
        " --json > {log:q} 2>&1"


# Of runs that were recorded in another store: a store that changed gets them, and the results say
# where they are now. Nothing is made again.
rule record_runs:
    output:
        record=RECORDED,
    log:
        f"{RESULTS}/logs/record_runs.log",
    benchmark:
        f"{RESULTS}/benchmarks/record_runs.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        settings={"uri": STORE.shown_uri},
        results=given(lambda w: PLACED_STUDY.results),
    shell:
        "lanflow sync {params.results:q} --moved --output {output.record:q} --json > {log:q} 2>&1"


rule generate_data:
    input:
        models_file=models_file_of,
    output:
        record=f"{CHUNK}/chunk.json",
        inventory=f"{CHUNK}/generated_files_inventory.json",
        files=directory(f"{CHUNK}/training_data"),
    log:
        f"{RESULTS}/logs/generate_data/{{model}}_{{chunk}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/generate_data/{{model}}_{{chunk}}.tsv"
    conda:
        "../../environment.yml"
    threads: lambda w: data_of(w).generate.threads
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        settings=generation_settings,
        config=given(lambda w: data_of(w).generate.config),
        models_file=models_file_options,
        folder=lambda w, output: os.path.dirname(output.record),
        n_files=given(lambda w: data_of(w).generate.files_per_chunk),
        seed=given(lambda w: STUDY.seed),
        log_files=given(
            lambda w: "--log-files" if data_of(w).generate.log_files else []
        ),
    shell:
        "lanflow generate --config-path {params.config:q} --model {wildcards.model}"
        " {params.models_file:q} --output {params.folder:q} --n-files {params.n_files}"
        " --chunk {wildcards.chunk} --seed {params.seed} --processes {threads}"
        " --mlflow-on {params.log_files} --json > {log:q} 2>&1"

"""The tracking store, and simulating training files."""


rule prepare_tracking:
    output:
        record=PREPARED,
    log:
        f"{RESULTS}/logs/prepare_tracking.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare_tracking.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        experiments=experiments_to_prepare(),
        # A change of store prepares the new one; results already made stay as they are.
        store=STORE.shown_uri,
    shell:
        "lanflow prepare {params.experiments:q} --output {output.record:q} 2>&1 | tee {log:q}"


# A job, wherever jobs run: what it does not reach or see, none of those that follow would.
rule check_node:
    input:
        prepared=ancient(PREPARED),
    output:
        record=CHECKED,
    log:
        f"{RESULTS}/logs/check_node/{{device}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_node/{{device}}.tsv"
    retries: 0
    conda:
        "../../environment.yml"
    resources:
        mem_mb=4000,
        runtime=15,
        gpu=lambda w: gpus_of(w.device),
    params:
        experiments=experiments_to_prepare(),
        gpu=lambda w: re.sub(r"(.*)_gpu", r"--gpu-for \1", w.device.replace("cpu", "")),
        store=STORE.shown_uri,
    shell:
        "lanflow check-node {params.experiments:q} --output {output.record:q} {params.gpu}"
        " 2>&1 | tee {log:q}"


rule generate_data:
    input:
        config=lambda w: ancient(data_of(w).generate.config),
        checked=ancient(CHECKED.format(device="cpu")),
    output:
        record=f"{MODEL_DIR}/generation/chunk_{{chunk}}/chunk.json",
        inventory=f"{MODEL_DIR}/generation/chunk_{{chunk}}/generated_files_inventory.json",
        files=directory(f"{MODEL_DIR}/generation/chunk_{{chunk}}/training_data"),
    log:
        f"{RESULTS}/logs/generate_data/{{model}}_{{chunk}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/generate_data/{{model}}_{{chunk}}.tsv"
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        folder=lambda w, output: os.path.dirname(output.record),
        n_files=lambda w: data_of(w).generate.files_per_chunk,
        seed=STUDY.seed,
        log_files=lambda w: "--log-files" if data_of(w).generate.log_files else [],
        # What decides the content of a chunk; a change of it makes the chunk again.
        settings=lambda w: GENERATIONS[w.model].settings_dict(),
    shell:
        "lanflow generate --config-path {input.config:q} --model {wildcards.model}"
        " --output {params.folder:q} --n-files {params.n_files} --chunk {wildcards.chunk}"
        " --seed {params.seed} --processes {threads} --mlflow-on {params.log_files} 2>&1 | tee {log:q}"

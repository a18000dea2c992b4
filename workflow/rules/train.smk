"""One training for each network and backend."""


rule train_network:
    input:
        manifest=f"{MODEL_DIR}/manifest.json",
        # Of the packed data set only its record: arrays that were removed are packed again, by the
        # training that needs them.
        record=f"{MODEL_DIR}/data_set/data_set.json",
        models_file=models_file_of,
        start=start_card,
    output:
        onnx=f"{NETWORK_DIR}/{network_folder.ONNX}",
        history=f"{NETWORK_DIR}/{network_folder.HISTORY}",
        config=f"{NETWORK_DIR}/{network_folder.CONFIG}",
        lineage=f"{NETWORK_DIR}/{network_folder.LINEAGE}",
        card=f"{NETWORK_DIR}/{network_folder.CARD}",
        record=f"{NETWORK_DIR}/{network_folder.RECORD}",
        curve=shown_figure(network_folder.CURVE, "training_curve"),
    log:
        f"{RESULTS}/logs/train_network/{{network_type}}_{{model}}_{{network}}_{{backend}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_network/{{network_type}}_{{model}}_{{network}}_{{backend}}.tsv"
    conda:
        "../../environment.yml"
    threads: lambda w: training_of(w).threads
    resources:
        mem_mb=lambda w: training_of(w).memory_mb + 4000,
        runtime=720,
        gpu=lambda w: gpus_of(training_of(w).device),
    params:
        settings=training_settings,
        config=given(lambda w: training_of(w).config_path),
        models_file=models_file_options,
        start=given(start_options),
        base=lambda w, output: Path(output.onnx).parents[3],
        data_set=lambda w, input: os.path.dirname(input.record),
        network_id=given(lambda w: training_of(w).network_id),
        seed=given(lambda w: training_of(w).seed),
        device=given(lambda w: training_of(w).device),
        run_uuid=given(lambda w: training_of(w).run_uuid),
        memory_mb=given(lambda w: training_of(w).memory_mb),
        # Not {threads}, which Snakemake lowers to the cores it was given: sums are split by the
        # number of threads, and the same study gives the same bytes.
        threads=given(lambda w: training_of(w).threads),
        # Data that its audit refuses is not trained on, and neither waits for the other.
        max_repeated_sets=given(repeats_option),
    shell:
        # Not jaxtrain: where LANfactory is installed beside lanflow, that may be LANfactory's.
        "lanflow train --backend {wildcards.backend} --config-path {params.config:q}"
        " --model {wildcards.model}"
        " {params.models_file:q} --network-id {params.network_id} --seed {params.seed}"
        " {params.start:q}"
        " --data-set {params.data_set:q} --manifest {input.manifest:q} {params.max_repeated_sets:q}"
        " --networks-path-base {params.base:q}"
        " --network-name {wildcards.network}_{wildcards.backend}"
        " --device {params.device} --threads {params.threads} --memory-mb {params.memory_mb}"
        " --run-uuid {params.run_uuid} --mlflow-on --json > {log:q} 2>&1"

"""One training for each network and backend."""


rule train_network:
    input:
        config=lambda w: ancient(training_of(w).config_path),
        checked=lambda w: ancient(checks_of(w)),
        manifest=f"{MODEL_DIR}/manifest.json",
        record=f"{MODEL_DIR}/data_set/data_set.json",
        arrays=ancient(f"{MODEL_DIR}/data_set/arrays"),
        # Data that its audit refuses is not trained on; what else an audit says changes nothing.
        audit=ancient(f"{MODEL_DIR}/audit.json"),
    output:
        onnx=f"{NETWORK_DIR}/{artifacts.ONNX}",
        history=f"{NETWORK_DIR}/{artifacts.HISTORY}",
        config=f"{NETWORK_DIR}/{artifacts.CONFIG}",
        lineage=f"{NETWORK_DIR}/{artifacts.LINEAGE}",
        card=f"{NETWORK_DIR}/{artifacts.CARD}",
        record=f"{NETWORK_DIR}/{artifacts.RECORD}",
        curve=shown_figure(artifacts.CURVE, "training_curve"),
    log:
        f"{RESULTS}/logs/train_network/{{network_type}}_{{model}}_{{network}}_{{backend}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_network/{{network_type}}_{{model}}_{{network}}_{{backend}}.tsv"
    conda:
        "../../environment.yml"
    threads: TRAINING_THREADS
    resources:
        mem_mb=lambda w: training_of(w).memory_mb + 4000,
        runtime=720,
        gpu=lambda w: gpus_of(training_of(w).device),
    params:
        base=lambda w, output: Path(output.onnx).parents[3],
        data_set=lambda w, input: os.path.dirname(input.record),
        network_id=lambda w: training_of(w).network_id,
        seed=lambda w: training_of(w).seed,
        device=lambda w: training_of(w).device,
        run_uuid=lambda w: training_of(w).run_uuid,
        memory_mb=lambda w: training_of(w).memory_mb,
        # Not {threads}, which Snakemake lowers to the cores it was given: sums are split by the
        # number of threads, and the same study gives the same bytes.
        threads=TRAINING_THREADS,
        # What decides the training; a change of it trains this network again, and no other.
        settings=lambda w: training_of(w).config.canonical_json(),
    shell:
        "{wildcards.backend}train --config-path {input.config:q} --model {wildcards.model}"
        " --network-id {params.network_id} --seed {params.seed}"
        " --data-set {params.data_set:q} --manifest {input.manifest:q}"
        " --networks-path-base {params.base:q}"
        " --network-name {wildcards.network}_{wildcards.backend}"
        " --device {params.device} --threads {params.threads} --memory-mb {params.memory_mb}"
        " --run-uuid {params.run_uuid} --mlflow-on 2>&1 | tee {log:q}"

"""Networks that pass their gates, in MLflow's model registry."""


localrules:
    register_networks,


rule register_networks:
    input:
        prepared=ancient(PREPARED),
        networks=network_files(artifacts.ONNX),
        cards=network_files(artifacts.CARD),
        evaluations=network_files(artifacts.EVALUATION),
    output:
        record=REGISTERED,
    log:
        f"{RESULTS}/logs/register_networks.log",
    benchmark:
        f"{RESULTS}/benchmarks/register_networks.tsv"
    conda:
        "../../environment.yml"
    params:
        folders=lambda w, input: [os.path.dirname(path) for path in input.networks],
        study=STUDY.study,
    shell:
        "lanflow register {params.folders:q} --study {params.study} --skip-failed"
        " --output {output.record:q} 2>&1 | tee {log:q}"

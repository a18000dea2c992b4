"""Networks as they are handed on: registered in MLflow, packed."""


rule register_networks:
    input:
        recorded=RECORDED,
        networks=network_files(network_folder.ONNX),
        cards=network_files(network_folder.CARD),
        evaluations=network_files(network_folder.EVALUATION),
    output:
        record=REGISTERED,
    log:
        f"{RESULTS}/logs/register_networks.log",
    benchmark:
        f"{RESULTS}/benchmarks/register_networks.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        settings={"study": STUDY.study, "uri": STORE.shown_uri},
        folders=lambda w, input: [os.path.dirname(path) for path in input.networks],
        study=given(lambda w: STUDY.study),
    shell:
        "lanflow register {params.folders:q} --study {params.study} --skip-failed"
        " --output {output.record:q} --json > {log:q} 2>&1"


rule bundle_network:
    input:
        # Cards name the run, in the store that has it.
        recorded=RECORDED,
        onnx=f"{NETWORK_DIR}/{network_folder.ONNX}",
        config=f"{NETWORK_DIR}/{network_folder.CONFIG}",
        lineage=f"{NETWORK_DIR}/{network_folder.LINEAGE}",
        card=f"{NETWORK_DIR}/{network_folder.CARD}",
        evaluation=f"{NETWORK_DIR}/{network_folder.EVALUATION}",
    output:
        folder=directory(BUNDLE),
        archive=f"{BUNDLE}.tar.gz",
    log:
        f"{RESULTS}/logs/bundle_network/{{network_type}}_{{model}}_{{network}}_{{backend}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/bundle_network/{{network_type}}_{{model}}_{{network}}_{{backend}}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        network=lambda w, input: os.path.dirname(input.card),
    shell:
        "lanflow bundle {params.network:q} --output {output.folder:q} --archive"
        " --json > {log:q} 2>&1"
